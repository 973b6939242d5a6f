"""Systems that lack something: POSIX signals, characters, long names."""

import io
import sys
from pathlib import Path

import pytest

from tests.conftest import TINY, refused, tiny
from tests.forks import run
from vocseg.errors import plain_output

WITHOUT_POSIX = """
import os, signal, sys
posix = {name: signal.__dict__.pop(name) for name in ("SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGALRM", "SIGHUP")}
for name in [name for name in sys.modules if name.split(".")[0] == "vocseg"]:
    del sys.modules[name]
for name in ("register_at_fork", "geteuid", "getuid"):
    delattr(os, name)
sys.modules["fcntl"] = sys.modules["resource"] = None
import importlib, pkgutil
sys.platform = "win32"
import vocseg.utils.atomic_write
sys.platform = "linux"  # what torch and Lightning do by it is not ours to test
for module in pkgutil.walk_packages(vocseg.__path__, "vocseg."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
signal.__dict__.update(posix)  # which Lightning asks for by the platform
from vocseg.__main__ import main
main(sys.argv[1:])
"""


@pytest.mark.slow
def test_training_without_posix_signals_works(sample: Path, here: Path) -> None:
    done = run(["fit", *tiny(sample), "--trainer.limit_train_batches", "1"], here, WITHOUT_POSIX)
    assert done.returncode == 0, done.stderr
    assert (here / "lightning_logs/fit/version_0/unet_voc.pth").is_file()


@pytest.mark.parametrize("words", [["fit", "--trainer.default_root_dir"], ["audit", "--root"], ["resume"]])
def test_too_long_path_is_refused(
    sample: Path, here: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    flags = ["--data.root", str(sample), "--model.encoder", TINY, "--model.encoder_weights", "null"]
    said = refused(capsys, [*words, "d/" * 2100 + "x", *(flags if words[0] == "fit" else [])])
    assert said.startswith("vocseg: ")
    assert len(said) < 500


def test_name_outside_of_locale_is_refused_with_remedy(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, ["audit", "--root", "w\udcf6rld"])
    assert said.startswith("vocseg: 'w\\udcf6rld' has characters that are invalid in this terminal")
    assert "PYTHONUTF8=1" in said


def test_table_on_ascii_terminal_is_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console
    from rich.table import Table

    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    plain_output()
    table = Table("500\u00d7375", "caf\u00e9 \u2588\u2588 \u2026")
    table.add_row("a \u2013 b", "\u65e5")
    Console(width=60).print(table)
    sys.stdout.flush()
    text = written.getvalue().decode("ascii")
    assert "500?375" in text
    assert "+---" in text
