"""What may be given is said in plain words, whichever way jsonargparse words its complaint."""

from pathlib import Path
from typing import Any, Literal

import pytest
from jsonargparse.typing import (
    ClosedUnitInterval,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)

from tests.conftest import refused
from vocseg.config.parser import Parser, friendly_parse_error
from vocseg.errors import UserError


@pytest.mark.parametrize(
    ("kind", "value", "wanted"),
    [
        (bool, "7", "true or false"),
        (bool | None, "maybe", "true, false or null"),
        (int | float | None, "x", "a number or null"),
        (float, "x", "a number"),
        (PositiveInt, "0", "a whole number from 1"),
        (PositiveInt, "x", "a whole number from 1"),
        (PositiveInt | None, "-3", "a whole number from 1 or null"),
        (NonNegativeInt | None, "-1", "a whole number from 0 or null"),
        (PositiveFloat, "-1", "a number above 0"),
        (PositiveFloat, "x y", "a number above 0"),
        (NonNegativeFloat, "-1", "a number from 0"),
        (ClosedUnitInterval, "2", "a number from 0 to 1"),
        (Literal["stop", "skip"], "go", "stop or skip"),
        (Literal["a", "b"] | Literal["b", "c"] | None, "d", "a, b, c or null"),
        (list[int], "3", "a list, such as [a, b]"),
    ],
)
def test_a_value_of_a_wrong_type_gets_what_may_be_given(kind: Any, value: str, wanted: str) -> None:
    parser = Parser(exit_on_error=False)
    parser.add_argument("--part.flag", type=kind)
    with pytest.raises(UserError) as fault:
        parser.parse_args([f"--part.flag={value}"])
    assert fault.value.sentence == f"--part.flag {value}: give {wanted}; --help lists the flags"


def test_what_has_no_name_stays_as_it_was_said() -> None:
    for text in (
        "--trainer.logger: Expected a <class 'some.Other'>. Got value: 3",
        "--flag: Does not validate against any of the Union subtypes Subtypes: "
        "[<class 'int'>, <class 'a.Thing'>] Errors: - a - b Given value: x",
        "unrecognized arguments: --nothing",
    ):
        assert friendly_parse_error(text) == text


CLASSES = {
    "no class": (["Thing"], "--trainer.callbacks Thing: no class of Lightning's has that name"),
    "no module": (["nowhere.Thing"], "--trainer.callbacks nowhere.Thing: No module named 'nowhere'"),
    "another class": (["argparse.Namespace"], "--trainer.callbacks argparse.Namespace: that is no Callback"),
    "a setting is missing": (["EarlyStopping"], "EarlyStopping needs --trainer.callbacks.monitor"),
    "a setting is unknown": (
        ["EarlyStopping", "--trainer.callbacks.patienc", "3"],
        "--trainer.callbacks.patienc: the class has no such setting",
    ),
    "a setting is of another type": (
        ["EarlyStopping", "--trainer.callbacks.patience", "x"],
        "--trainer.callbacks.patience x: give a whole number",
    ),
}


@pytest.mark.parametrize("name", CLASSES)
def test_what_is_wrong_with_a_class_is_said(
    here: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    words, meant = CLASSES[name]
    said = refused(capsys, ["fit", "--trainer.callbacks+", *words])
    assert meant in said
    assert "Union" not in said


def test_a_value_in_a_recipe_is_said_so_too(
    sample: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine.yaml").write_text("data:\n  num_workers: many\n")
    said = refused(capsys, ["fit", "--config", "mine.yaml", "--data.root", str(sample)])
    assert "--data.num_workers many: give a whole number from 0 or null" in said
