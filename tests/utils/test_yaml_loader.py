"""YAML loading: duplicate keys, excessive aliases, files that are not text."""

import os
import time
from pathlib import Path

import pytest

from tests.conftest import refused, tiny
from vocseg.utils.yaml_loader import check_document


def test_recipe_with_duplicate_key_raises_with_lines(
    sample: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "mine.yaml").write_text("# mine\nmodel:\n  lr: 1.0e-3\n  arch: unet\n  lr: 1.0e-4\n")
    said = refused(capsys, ["fit", *tiny(sample), "--config", "mine.yaml"])
    assert said == "vocseg: --config mine.yaml: line 5 repeats 'lr' of line 3. Keep one of them.\n"


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
def test_unique_keys_pass(text: str) -> None:
    check_document(text, "file")


BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{k}: &a{k} [{','.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 9)
)
ENDLESS = {
    "aliases of aliases": (BOMB, "has 72 aliases"),
    "an alias of itself": ("root: &a {b: [1, {c: *a}]}\n", "is nested deeper than 50 levels"),
    "400 levels": (f"root: {'[' * 400}{']' * 400}\n", "is nested deeper than 50 levels"),
}


@pytest.mark.parametrize(
    ("verb", "name"), [*(("audit", name) for name in ENDLESS), ("fit", "aliases of aliases")]
)
def test_excessive_aliases_raise_within_two_seconds(
    here: Path, capsys: pytest.CaptureFixture[str], verb: str, name: str
) -> None:
    text, words = ENDLESS[name]
    (here / "mine.yaml").write_text(text)
    start = time.process_time()
    said = refused(capsys, [verb, "--config", "mine.yaml"])
    assert said.startswith(f"vocseg: --config mine.yaml: {words}")
    assert time.process_time() - start < 2


def test_excessive_aliases_in_flag_raise(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, ["fit", "--data", "{" + BOMB.replace("\n", ", ") + "}"])
    assert "has 72 aliases" in said


def _pipe(path: Path) -> None:
    os.mkfifo(path)


FOREIGN = {
    "a pipe": (_pipe, "it is a pipe or a device"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), ""),
    "a link to itself": (lambda path: path.symlink_to(path.name), ""),
    "a folder": (Path.mkdir, ""),
    "no text": (lambda path: path.write_bytes(b"\xff\xfe\x00"), "no"),
    "far too large": (lambda path: path.write_bytes(b"a: b\n" * 100_000), "it is larger than"),
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("words", [["audit", "--config"], ["audit", "--classes"]])
def test_config_that_is_not_a_text_file_raises(
    sample: Path, here: Path, capsys: pytest.CaptureFixture[str], name: str, words: list[str]
) -> None:
    make, reason = FOREIGN[name]
    make(here / "mine.yaml")
    said = refused(capsys, [*words, "mine.yaml", "--root", str(sample)])
    assert "mine.yaml" in said
    assert reason in said
