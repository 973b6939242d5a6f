"""Optional speed-ups that do not change results beyond rounding."""
