"""Lightning callbacks."""

from typing import Any, TypeVar

T = TypeVar("T")


def find_callback(trainer: Any, kind: type[T]) -> T | None:
    """Return the trainer's first callback of a class, if it has one."""
    return next((each for each in trainer.callbacks if isinstance(each, kind)), None)
