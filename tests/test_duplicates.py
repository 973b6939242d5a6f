"""A key that a YAML file gives twice is named with its lines."""

from pathlib import Path

import pytest

from tests.conftest import refused, tiny
from vocseg.class_files import read_classes
from vocseg.duplicates import refuse_duplicate_keys
from vocseg.errors import UserError


def test_a_recipe_that_gives_a_flag_twice_is_refused_by_line(
    sample: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "mine.yaml").write_text("# mine\nmodel:\n  lr: 1.0e-3\n  arch: unet\n  lr: 1.0e-4\n")
    said = refused(capsys, ["fit", *tiny(sample), "--config", "mine.yaml"])
    assert said == "vocseg: --config mine.yaml: line 5 gives 'lr' again, after line 3: keep one of them\n"


def test_a_class_list_that_gives_a_key_twice_is_refused_by_line(here: Path) -> None:
    (here / "mine.yaml").write_text("classes:\n  - background\n  - {name: a,\n     name: b}\n")
    with pytest.raises(UserError, match=r"mine.yaml: line 4 gives 'name' again, after line 3"):
        read_classes(here / "mine.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "a: {x: 1}\nb: {x: 2}\n",  # each once in its own mapping
        "a: &one {x: 1}\nb: *one\n",
        "a: [1, 1, 1]\n",
        "",
        "a: [",  # no YAML: for its reader to say
        '1: a\n"1": b\n',  # a number and a text
    ],
)
def test_what_is_given_once_passes(text: str) -> None:
    refuse_duplicate_keys(text, "file")


def test_packaged_recipes_say_nothing_twice() -> None:
    from vocseg.recipes import RECIPES

    recipes = list(RECIPES.glob("*.yaml"))
    assert recipes
    for path in recipes:
        refuse_duplicate_keys(path.read_text(), path.name)
