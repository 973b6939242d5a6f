"""JSON output without NaN and infinity."""

import json
from math import isfinite
from pathlib import Path
from typing import Any

ORIGINAL_RESOLUTION, INPUT_RESOLUTION = "original_resolution", "input_resolution"  # keys of `scores.json`
STDOUT = Path("-")  # file name of standard output


def as_json(values: Any) -> str:
    """Serialise plain values. NaN and infinity become null, as JSON has neither."""
    return json.dumps(_finite(values), indent=1, allow_nan=False)


def _finite(values: Any) -> Any:
    if isinstance(values, dict):
        return {key: _finite(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [_finite(value) for value in values]
    return None if isinstance(values, float) and not isfinite(values) else values
