"""`python -m vocseg download`: its flags, and what it refuses."""

import os
from pathlib import Path

import pytest

from tests.conftest import refused
from tests.data.download.faulty_server import Fault, FaultyServer
from vocseg.__main__ import main
from vocseg.data import voc
from vocseg.data.download.archive import host

Capture = pytest.CaptureFixture[str]


def test_mirrors_are_tried_in_order_before_known_urls(
    server: FaultyServer, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(voc, "SOURCES", [f"{server.address}/known.tar"])
    first, second = f"{server.address}/first.tar", f"{server.address}/folder/"
    server.plan = [Fault("status", 404), Fault("status", 404)]
    main(["download", "--mirror", first, "--mirror", second])
    asked = [request.path for request in server.log]
    assert asked == ["/first.tar", f"/folder/{voc.ARCHIVE}", "/known.tar"]
    assert voc.find(here / "data") is not None
    assert capsys.readouterr().out.endswith("next     python -m vocseg fit\n")


def test_only_mirrors_skips_known_urls(server: FaultyServer, here: Path, capsys: Capture) -> None:
    server.always = Fault("status", 404)
    said = refused(capsys, ["download", "--mirror", f"{server.address}/", "--only_mirrors", "true"])
    assert said.count("status 404") == 1
    assert "thor" not in said


REFUSED = {
    "file": (["--mirror", "file:///data/x.tar"], "--mirror file:///data/x.tar is not a valid URL"),
    "no mirror": (["--only_mirrors", "true"], "Pass at least one --mirror"),
    "both": (["--archive", "x.tar", "--mirror", "http://a/x"], "Remove --mirror"),
    "no archive": (["--archive", "x.tar"], "--archive x.tar is not a file"),
    "other set": (["--dataset", "coco"], "Literal['voc', 'sbd']. Got value: coco"),
    "SBD alone": (
        ["--dataset", "sbd", "--mirror", "http://a/x", "--only_mirrors", "true"],
        "SBD needs VOC 2012, which is not in data. Download it first with --dataset voc",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_flags_are_refused_in_a_sentence(here: Path, capsys: Capture, case: str) -> None:
    words, sentence = REFUSED[case]
    said = refused(capsys, ["download", *words])
    assert sentence in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("dataset", ["voc", "sbd"])
def test_archive_flag_of_pipe_raises_before_writing(here: Path, capsys: Capture, dataset: str) -> None:
    os.mkfifo(here / "x.tar")
    said = refused(capsys, ["download", "--dataset", dataset, "--archive", "x.tar"])
    assert "vocseg: --archive x.tar is not a file. Pass the file" in said
    assert [path.name for path in here.iterdir()] == ["x.tar"]


def test_password_is_not_printed() -> None:
    assert host("https://me:secret@server:8080/x") == "server:8080"
