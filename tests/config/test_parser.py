"""One-line errors of the command-line parser with flag, value and accepted types."""

import re
from pathlib import Path
from typing import Any, Literal

import pytest
from jsonargparse.typing import PositiveInt

from tests.conftest import refused
from vocseg.__main__ import TOOLS, main
from vocseg.config.parser import Parser, complete_switches
from vocseg.errors import UserError

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        (bool | None, "maybe", ["Expected a bool", "Give true or false or null."]),
        (float, "x", ["Expected a float", "Give float."]),
        (PositiveInt, "0", ["v>0", "Give int from 1."]),
        (PositiveInt | None, "-3", ["v>0", "Give int from 1 or null."]),
        (Literal["raise", "skip"], "go", ["'raise', 'skip'"]),
        (list[int], "3", ["Expected a list"]),
    ],
)
def test_value_of_wrong_type_raises_with_flag_value_and_types(
    kind: Any, value: str, words: list[str]
) -> None:
    parser = Parser(exit_on_error=False)
    parser.add_argument("--part.flag", type=kind)
    with pytest.raises(UserError) as error:
        parser.parse_args([f"--part.flag={value}"])
    sentence = error.value.sentence
    assert sentence.startswith("--part.flag: ")
    assert all(word in sentence for word in [value, *words])
    assert "Union" not in sentence


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Path | None, "path or null"),
        (list[Literal["none", "light"]] | None, "list of none, light or null"),
        (PositiveInt, "int from 1"),
        (bool | str, "true or false or text"),
        (tuple[float, float], "list of float"),
    ],
)
def test_help_has_types_in_words(kind: Any, words: str) -> None:
    parser = Parser()
    parser.add_argument("--flag", type=kind)
    assert f"(type: {words}, default: null)" in " ".join(parser.format_help().split())


@pytest.mark.parametrize("tool", TOOLS)
def test_help_of_tool_has_no_python_types(tool: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        main([tool, "--help"])
    text = capsys.readouterr().out
    assert not re.search(r"<class|(Optional|Union|Literal|list)\[|--\w+\+", text)


CLASSES = {
    "no class": (["Thing"], ["dot import path", "Thing"]),
    "no module": (["nowhere.Thing"], ["No module named 'nowhere'", "'nowhere.Thing'"]),
    "another class": (["argparse.Namespace"], ["argparse.Namespace", "subclass of Callback"]),
    "missing argument": (["EarlyStopping"], ["required: monitor"]),
    "unknown argument": (
        ["EarlyStopping", "--trainer.callbacks.patienc", "3"],
        ["'patienc' is not accepted"],
    ),
    "argument of wrong type": (
        ["EarlyStopping", "--trainer.callbacks.patience", "x"],
        ["--patience: Expected a int. Got value: x"],
    ),
}


@pytest.mark.parametrize("name", CLASSES)
def test_invalid_class_is_refused_with_flag_and_reason(here: Path, capsys: Capture, name: str) -> None:
    flags, words = CLASSES[name]
    printed = refused(capsys, ["fit", "--trainer.callbacks+", *flags])
    assert printed.startswith("vocseg: --trainer.callbacks: ")
    assert all(word in printed for word in words)
    assert len(printed) < 500
    assert printed.count("\n") == 1


def test_invalid_value_in_recipe_is_refused_with_file_and_flag(
    sample: Path, here: Path, capsys: Capture
) -> None:
    Path("mine.yaml").write_text("data:\n  num_workers: many\n")
    printed = refused(capsys, ["fit", "--config", "mine.yaml", "--data.root", str(sample)])
    assert printed.startswith("vocseg: --config mine.yaml: --data.num_workers: ")
    assert "'many'. Give int from 0 or null." in printed


def test_unknown_flag_is_refused_with_similar_flags(here: Path, capsys: Capture) -> None:
    assert "--model.lrr 1; do you mean --model.lr?" in refused(capsys, ["fit", "--model.lrr", "1"])
    assert "--nothing 1; --help lists the flags" in refused(capsys, ["fit", "--nothing", "1"])


def test_bare_switch_gets_value_true() -> None:
    def tool(int8: bool = False, size: int = 1) -> None: ...

    assert complete_switches([], tool) == []
    assert complete_switches(["--int8", "--size", "3"], tool) == ["--int8=true", "--size", "3"]
    assert complete_switches(["--size", "3", "--int8"], tool) == ["--size", "3", "--int8=true"]
    assert complete_switches(["--int8", "false"], tool) == ["--int8", "false"]
