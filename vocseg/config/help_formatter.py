"""Types of flags in `--help`, as a user types their values."""

import re
from argparse import Action
from collections.abc import Iterable, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from jsonargparse import DefaultHelpFormatter

_NAMES = {
    "NoneType": "null",
    "bool": "true or false",
    "Path": "path",
    "PositiveInt": "int from 1",
    "NonNegativeInt": "int from 0",
    "PositiveFloat": "float above 0",
    "NonNegativeFloat": "float from 0",
    "ClosedUnitInterval": "0 to 1",
    "OpenUnitInterval": "between 0 and 1",
    "str": "text",
}


def type_in_words(hint: Any) -> str | None:
    """Text for a type hint, such as `int or null`; None where the library's own text is to be used."""
    kind, parts = get_origin(hint), get_args(hint)
    if kind is Literal:
        return ", ".join(map(str, parts))
    if kind in (Union, UnionType):
        words = [type_in_words(part) for part in parts]
        return None if None in words else " or ".join(dict.fromkeys(filter(None, words)))
    if kind in (list, tuple, Iterable, Sequence):
        words = [type_in_words(part) for part in parts if part is not ...]
        return None if None in words else f"list of {' and '.join(dict.fromkeys(filter(None, words)))}"
    if hint is NoneType or isinstance(hint, type):
        return _NAMES.get(hint.__name__, hint.__name__)
    return None


class HelpFormatter(DefaultHelpFormatter):
    """jsonargparse's formatter with types in words, and without the `+` that repeated flags get."""

    def _get_type_str(self, action: Action) -> str | None:
        return type_in_words(getattr(action, "_typehint", None)) or super()._get_type_str(action)

    def _format_action_invocation(self, action: Action) -> str:
        text = super()._format_action_invocation(action)
        return re.sub(r", --[\w.]+\+( \S+)?", "", text)
