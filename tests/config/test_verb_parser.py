"""Help of the verbs."""

import argparse
import platform
import re

import pytest

from vocseg.__main__ import main
from vocseg.config.verb_parser import _TRAINING_FLAGS


def _help(verb: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    return re.findall(r"^  --([\w.]+)", capsys.readouterr().out, re.MULTILINE)


def test_private_lists_of_argparse_exist() -> None:
    parser = argparse.ArgumentParser()
    for owner, name in (
        (parser, "_actions"),
        (parser, "_action_groups"),
        (parser._action_groups[0], "_group_actions"),
    ):
        assert isinstance(getattr(owner, name, None), list), f"Python {platform.python_version()}: {name}"


def test_help_of_predict_hides_training_flags_that_fit_shows(capsys: pytest.CaptureFixture[str]) -> None:
    shown = _help("fit", capsys)
    for prefix in _TRAINING_FLAGS:
        assert any(flag.startswith(prefix) for flag in shown), prefix
    flags = _help("predict", capsys)
    assert "data.predict_dir" in flags
    assert not [flag for flag in flags if flag.startswith(_TRAINING_FLAGS)]
