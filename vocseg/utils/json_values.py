"""JSON output without NaN and infinity."""

import json
from math import isfinite
from pathlib import Path
from typing import Any

ORIGINAL_RESOLUTION, INPUT_RESOLUTION = "original_resolution", "input_resolution"  # keys of `scores.json`
STDOUT = Path("-")  # as a file's name: standard output


def as_json(values: Any) -> str:
    """Plain values as text; what is no number or has no end becomes null, as JSON knows neither."""
    return json.dumps(_finite(values), indent=1, allow_nan=False)


def _finite(values: Any) -> Any:
    if isinstance(values, dict):
        return {key: _finite(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [_finite(value) for value in values]
    return None if isinstance(values, float) and not isfinite(values) else values
