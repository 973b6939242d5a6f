"""Signals before training begins, or where nothing is trained: it ends soon; nothing is half done."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT, tiny
from tests.forks import Forked
from vocseg.__main__ import main
from vocseg.callbacks.prediction_saver import PredictionSaver
from vocseg.data.synthetic import write_sample
from vocseg.data.voc import split_list
from vocseg.errors import Interrupted
from vocseg.utils.signals import SIGNAL_GUARD

Capture = pytest.CaptureFixture[str]
TWO = ["--trainer.devices", "2", "--trainer.strategy", "ddp"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set that takes a while to read: one large picture under many names."""
    root = tmp_path_factory.mktemp("large")
    voc = write_sample(root, train=4, val=2, progress=False)
    for folder, suffix in (("JPEGImages", "jpg"), ("SegmentationClass", "png")):
        first = voc / folder / f"large.{suffix}"
        pixels = np.zeros((1500, 2000, 3)[: 3 if suffix == "jpg" else 2], np.uint8)
        Image.fromarray(pixels).save(first)
        for k in range(200):
            (voc / folder / f"large_{k}.{suffix}").symlink_to(first.name)
    split_list(voc, "train").write_text("".join(f"large_{k}\n" for k in range(200)))
    return root


def _stop(here: Path, words: list[str], line: str, number: int) -> tuple[int, str]:
    """Start a command, send it a signal when it has printed a line; its exit code and what it said then."""
    with Forked(words, here) as process:
        process.wait_for(line)
        before = process.out
        os.kill(process.pid, number)
        code = process.wait(60)
        with pytest.raises(ProcessLookupError):  # nothing of it is left
            _until_gone(process.pid)
        return code, process.out.removeprefix(before) + process.err


def _stop_importing(here: Path, words: list[str], module: str, number: int) -> tuple[int, str]:
    """The same when it imports a module, as a user starts it."""
    with subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "vocseg", *words],
        cwd=here,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # also in the background
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        while module not in (said := process.stdout.readline()):
            assert said, process.wait()
        process.send_signal(number)
        rest = process.communicate(timeout=60)[0]
    with pytest.raises(ProcessLookupError):
        _until_gone(process.pid)
    kept = [each for each in rest.splitlines() if not each.startswith("import time:")]
    return process.returncode, "\n".join(kept)


def _until_gone(group: int) -> None:
    for _ in range(300):
        os.killpg(group, 0)
        time.sleep(0.1)


def _remains(root: Path) -> list[Path]:
    """Half of a store."""
    return [path for path in root.rglob("*") if path.name.endswith(".part")]


BEFORE = "before training began; there is nothing to resume"


@pytest.mark.slow
@pytest.mark.parametrize("flags", [[], TWO], ids=["SIGTERM while caching", "SIGTERM to one of two processes"])
def test_signal_before_training_exits_and_leaves_no_files(large: Path, here: Path, flags: list[str]) -> None:
    code, said = _stop(here, ["fit", *tiny(large), *flags], "caching 'train'", signal.SIGTERM)
    _check_nothing_is_left(large, here, code, said, signal.SIGTERM, BEFORE)


def _check_nothing_is_left(
    large: Path, here: Path, code: int, said: str, number: signal.Signals, what: str
) -> None:
    assert code == 128 + number
    (sentence,) = [each for each in said.splitlines() if each.startswith("vocseg: ")]
    assert sentence.startswith(f"vocseg: stopped by {number.name}")
    assert what in sentence
    assert "Traceback" not in said
    assert list(here.iterdir()) == []
    assert _remains(large) == []


def test_signal_during_tool_exits_with_message(large: Path, here: Path) -> None:
    words = ["audit", str(large), "--cache", str(here / "cache")]
    code, said = _stop_importing(here, words, "| vocseg.data.audit", signal.SIGINT)
    assert code == 128 + signal.SIGINT
    assert said.strip() == "vocseg: stopped by SIGINT; no partial result was left: run it again"
    assert [path for path in here.rglob("*") if path.is_file()] == []


def _at(call: int, number: int, method: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, which sends this process a signal at one of its calls."""
    calls = iter(range(1, 1000))

    def wrapped(*args: Any) -> Any:
        result = method(*args)
        if next(calls) == call:
            os.kill(os.getpid(), number)
        return result

    return wrapped


def test_lost_interruption_is_raised_at_end_of_block(capsys: Capture) -> None:
    """As in a destructor, from which nothing can be raised."""

    def lose() -> None:
        with SIGNAL_GUARD, SIGNAL_GUARD.claiming(), contextlib.suppress(Interrupted):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)

    with pytest.raises(Interrupted):
        lose()
    with SIGNAL_GUARD, SIGNAL_GUARD.claiming():
        pass  # it is over


def test_error_after_signal_becomes_interrupted(
    trained: Path, here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in torch's writer of files, which makes an error of its own of whatever is raised within it."""

    def write(*_: Any) -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        except Interrupted:
            raise RuntimeError("unexpected pos 64 vs 0") from None

    monkeypatch.setattr("vocseg.utils.safe_load.torch.save", write)
    words = ["export", "--ckpt_path", str(trained / "unet_voc.pth"), "--output_file", str(here / "out.pth")]
    said = _stopped(words, signal.SIGINT, capsys)
    assert said == "vocseg: stopped by SIGINT; no partial result was left: run it again\n"
    assert list(here.iterdir()) == []


def _stopped(words: list[str], number: int, capsys: Capture) -> str:
    """What a command says that sends itself a signal."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background have it ignored
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 128 + number
    assert {each: signal.getsignal(each) for each in before} == before
    return capsys.readouterr().err


def test_signal_during_scoring_leaves_no_files(
    sample: Path, trained: Path, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(PredictionSaver, "add", _at(3, signal.SIGTERM, PredictionSaver.add))
    words = ["--ckpt_path", str(trained / "unet_voc.pth"), "--data.root", str(sample)]
    said = _stopped(["test", *words], signal.SIGTERM, capsys)
    assert "vocseg: stopped by SIGTERM; nothing was saved. Start it again" in said
    assert list(here.iterdir()) == []


def test_signal_during_predict_leaves_complete_files(
    sample: Path, trained: Path, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    from vocseg.inference.result import Result

    saved = _at(2, signal.SIGINT, Result.save)
    monkeypatch.setattr(Result, "save", lambda *arguments: saved(*arguments))
    photos = sample / "VOCdevkit/VOC2012/JPEGImages"
    words = ["predict", "--ckpt_path", str(trained / "unet_voc.pth"), "--data.predict_dir", str(photos)]
    said = _stopped(words, signal.SIGINT, capsys)
    assert "vocseg: stopped by SIGINT; all files in lightning_logs/predict/version_0 are complete" in said
    found = [
        list((here / "lightning_logs/predict/version_0" / name).iterdir()) for name in ("masks", "overlays")
    ]
    masks, overlays = ({path.stem for path in each} for each in found)
    assert masks == overlays
    assert 2 <= len(masks) < len(list(photos.iterdir()))  # those under way are completed
    for path in (*found[0], *found[1]):
        Image.open(path).load()


def test_signal_before_resume_leaves_run_unchanged(
    sample: Path, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    from vocseg.callbacks.throughput import Throughput
    from vocseg.data.datamodule import VOCDataModule

    with monkeypatch.context() as patch:
        ended = _at(2, signal.SIGTERM, Throughput.on_train_batch_end)
        patch.setattr(Throughput, "on_train_batch_end", lambda *args: ended(*args))
        _stopped(["fit", *tiny(sample)], signal.SIGTERM, capsys)
    run = here / "lightning_logs/fit/version_0"
    before = (run / "last.ckpt").read_bytes()
    prepared = _at(1, signal.SIGUSR1, VOCDataModule.prepare_data)
    monkeypatch.setattr(VOCDataModule, "prepare_data", lambda self: prepared(self))
    said = _stopped(["resume", str(run)], signal.SIGUSR1, capsys)
    assert f"stopped by SIGUSR1; the run is unchanged. Resume with: python -m vocseg resume {run}" in said
    assert (run / "last.ckpt").read_bytes() == before


def test_blocked_main_thread_is_ended(here: Path) -> None:
    code = (
        "import time, vocseg.utils.signals as it\nit._GRACE = 0.2\n"
        "with it.SIGNAL_GUARD:\n    try:\n        print('on', flush=True)\n        time.sleep(60)\n"
        "    except BaseException:\n        time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=-1, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=30)[1]
    assert process.returncode == 128 + signal.SIGTERM
    assert said.startswith("vocseg: stopped by SIGTERM, during an operation")


def test_forked_process_has_default_handlers() -> None:
    with SIGNAL_GUARD:
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
            os._exit(1)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGTERM
        assert not SIGNAL_GUARD.received
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGTERM)


def test_ignored_signal_stays_ignored_and_thread_ends() -> None:
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        with SIGNAL_GUARD:
            os.kill(os.getpid(), signal.SIGUSR1)
            assert signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGUSR1, before)
    for thread in threading.enumerate():
        if thread.name == "interruption":
            thread.join(10)
            assert not thread.is_alive()
