"""A run that was broken off goes on as if it had not been."""

import os
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

from tests.checkpoints.chains import differences, look
from tests.checkpoints.chains import table as _table
from tests.checkpoints.test_interrupted_runs import stop_at_hook
from tests.conftest import ROOT, refused, scoring, tiny
from tests.forks import Forked
from tests.forks import run as in_a_fork
from vocseg.__main__ import main
from vocseg.callbacks.throughput import Throughput
from vocseg.checkpoints.io import share
from vocseg.checkpoints.resume import COMPARED
from vocseg.checkpoints.run_dir import lock_folder
from vocseg.checkpoints.slurm import requeue

Capture = pytest.CaptureFixture[str]

EVERY = ["--last_checkpoint.every_minutes", "1e-9"]


def _flags(sample: Path, root: Path) -> list[str]:
    return [*tiny(sample), "--trainer.max_epochs", "2", "--trainer.default_root_dir", str(root)]


def _chains(*words: str) -> str:
    """Run chains in a process of their own: they fork, which must not be done beside threads."""
    code = "import runpy; runpy.run_module('tests.checkpoints.chains', run_name='__main__', alter_sys=True)"
    done = in_a_fork(list(words), ROOT, code, timeout=1800)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def whole(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nobody stopped."""
    root = tmp_path_factory.mktemp("whole")
    main(["fit", *_flags(sample, root), *EVERY])
    return root / "lightning_logs/fit/version_0"


@pytest.fixture(scope="module")
def broken_off(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the same run, asked to stop in the midst of its second epoch."""
    root = tmp_path_factory.mktemp("broken")
    original = Throughput.on_train_batch_end

    def asking(self: Throughput, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        original(self, trainer, module, outputs, batch, batch_idx)
        if (trainer.current_epoch, batch_idx) == (1, 2):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Throughput, "on_train_batch_end", asking)
        with pytest.raises(SystemExit) as end:
            main(["fit", *_flags(sample, root), *EVERY])
    assert end.value.code == 128 + signal.SIGTERM
    return root / "lightning_logs/fit/version_0"


@pytest.fixture
def run(broken_off: Path, here: Path) -> Path:
    """A copy of that folder."""
    folder = here / "lightning_logs/fit/version_0"
    shutil.copytree(broken_off, folder)
    return folder


@pytest.mark.slow
def test_chain_of_killed_runs_equals_uninterrupted_run() -> None:
    said = _chains("--chains", os.environ.get("VOCSEG_CHAINS", "9"), "--stops", "3")  # each configuration
    assert "0 ended otherwise" in said


@pytest.mark.slow
def test_chain_of_drawn_settings_equals_uninterrupted_run() -> None:
    said = _chains("--drawn", "--chains", "3", "--same", "3", "--stops", "3", "--seed", "5")
    assert "0 ended otherwise" in said


@pytest.mark.slow
def test_chain_of_two_processes_equals_uninterrupted_run() -> None:
    words = ["--signals", "SIGKILL", "SIGTERM", "SIGINT", "SIGUSR1", "--only", "batches", "averaged"]
    assert "0 ended otherwise" in _chains("--chains", "3", "--stops", "2", "--ranks", "2", *words)


@pytest.mark.slow
def test_signal_saves_and_prints_resume_command(sample: Path, here: Path) -> None:
    with Forked(["fit", *tiny(sample), "--trainer.max_epochs", "500"], here) as process:
        process.wait_for(" 1/500 ")
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(60) == 128 + signal.SIGINT
        said = process.err
    assert "vocseg: stopped by SIGINT; saved lightning_logs/fit/version_0/last.ckpt (epoch " in said
    assert "resume with: python -m vocseg resume lightning_logs/fit/version_0" in said
    assert "Traceback" not in said
    assert torch.load(here / "lightning_logs/fit/version_0/last.ckpt", weights_only=True)["epoch"] >= 1


def test_moved_run_resumes_as_uninterrupted_run(run: Path, whole: Path, here: Path) -> None:
    run.rename(here / "mine")
    main(["resume", "mine"])
    assert [path.name for path in run.parent.iterdir()] == []
    assert differences(look(here / "mine"), look(whole)) == []


def test_damaged_checkpoint_is_skipped(run: Path, whole: Path, capsys: Capture) -> None:
    path = run / "last.ckpt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    main(["resume", str(run)])
    said = capsys.readouterr().err
    assert "last.ckpt" in said
    assert "using best.ckpt" in said
    assert differences(look(run), look(whole)) == []


OTHERWISE = {
    "batch (batch_size) 4, now it is 2": ["--data.batch_size", "2"],
    "batch (accumulated) 1, now it is 2": ["--trainer.accumulate_grad_batches", "2"],
    "batch (limit_train_batches) None, now it is 2": ["--trainer.limit_train_batches", "2"],
    "batch (limit_train_batches) None, now it is 3": ["--trainer.overfit_batches", "3"],
    "seed 42, now it is 7": ["--seed_everything", "7"],
    "optimizer (lr) 0.0001, now it is 0.5": ["--model.lr", "0.5"],
    "schedule (name) constant, now it is cosine": ["--model.lr_scheduler", "cosine"],
    "data (images) 20, now it is 12": ["--data.max_train_samples", "12"],
    "data (augmentation) none, now it is light": ["--data.augmentation", "light"],
    "precision 32-true, now it is bf16-mixed": ["--trainer.precision", "bf16-mixed"],
}


@pytest.mark.parametrize("words", OTHERWISE)
def test_resume_with_changed_settings_raises(run: Path, capsys: Capture, words: str) -> None:
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    said = refused(capsys, ["resume", str(run), *OTHERWISE[words]])
    assert f"was made with {words}" in " ".join(said.split())
    assert "--allow" in said
    assert (run / "last.ckpt").read_bytes() == before["last.ckpt"]
    assert (run / "metrics.csv").read_bytes() == before["metrics.csv"]


def test_resume_with_other_versions_or_threads_raises(
    run: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = torch.get_num_threads()
    monkeypatch.setattr("vocseg.checkpoints.compatibility.__version__", "0.0")
    assert "versions (vocseg)" in refused(capsys, ["resume", str(run)])
    monkeypatch.undo()
    torch.set_num_threads(threads + 1)
    try:
        assert "made with threads" in refused(capsys, ["resume", str(run)])
    finally:
        torch.set_num_threads(threads)


def test_resume_of_finished_or_missing_run_raises(
    run: Path, whole: Path, here: Path, capsys: Capture
) -> None:
    assert "not a run directory (no config.yaml)" in refused(capsys, ["resume", str(here / "nowhere")])
    assert "it is finished, after epoch 2" in refused(capsys, ["resume", str(whole)])
    for path in run.glob("*.ckpt"):
        path.unlink()
    assert f"nothing to resume in {run}" in refused(capsys, ["resume", str(run)])
    assert sorted(path.name for path in (here / "lightning_logs/fit").iterdir()) == ["version_0"]


def test_run_stopped_in_last_validation_resumes(
    sample: Path, whole: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asking(self: Any, trainer: Any, *_: Any) -> None:
        if trainer.current_epoch == 1 and not trainer.sanity_checking:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Throughput, "on_validation_start", asking)
        with pytest.raises(SystemExit):
            main(["fit", *_flags(sample, here), *EVERY])
    run = here / "lightning_logs/fit/version_0"
    main(["resume", str(run)])
    assert differences(look(run), look(whole)) == []


def test_missing_best_checkpoint_is_copied_from_last(run: Path, capsys: Capture) -> None:
    path = run / "last.ckpt"
    content = torch.load(path, weights_only=True)
    content["vocseg_run"] |= {"is_best": True, "finished": True, "epoch": 2}
    torch.save(content, path)
    assert "it is finished" in refused(capsys, ["resume", str(run)])
    assert (run / "best.ckpt").read_bytes() == path.read_bytes()


def test_resume_of_locked_run_raises(run: Path, capsys: Capture) -> None:
    lock = lock_folder(run)
    try:
        assert "another process is running this run" in refused(capsys, ["resume", str(run)])
    finally:
        lock.release()


def test_second_signal_exits(here: Path) -> None:
    code = (
        "import os, signal, time\nfrom vocseg.callbacks.last_checkpoint import StopRequest\n"
        "StopRequest().listen(1)\nprint('on', flush=True)\ntime.sleep(5)\ntime.sleep(60)"
    )
    with Forked([], here, code) as process:
        process.wait_for("on")
        for _ in range(2):
            os.kill(process.pid, signal.SIGTERM)
            time.sleep(0.3)
        assert process.wait(30) == 128 + signal.SIGTERM


def test_moved_finetuning_run_resumes_with_its_comparison(
    sample: Path, trained: Path, here: Path, capsys: Capture
) -> None:
    words = [*_flags(sample, here), "--ckpt_path", str(trained / "unet_voc.pth")]
    words += ["--data.max_train_samples", "null", "--data.max_val_samples", "null"]
    with pytest.MonkeyPatch.context() as patch:
        stop_at_hook(patch, "on_train_batch_start", 1, 3, signal.SIGTERM)
        with pytest.raises(SystemExit):
            main(["finetune", *words])
    (here / "lightning_logs/finetune/version_0").rename(here / "mine")
    main(["resume", "mine"])
    compared = {name: (here / "mine" / name).read_bytes() for name in ("scores.json", COMPARED)}
    for name in compared:
        (here / "mine" / name).unlink()  # killed between training and comparing
    main(["resume", "mine"])
    assert {name: (here / "mine" / name).read_bytes() for name in compared} == compared
    assert "it is finished" in refused(capsys, ["resume", "mine"])
    main(["finetune", *words, "--trainer.default_root_dir", str(here / "other")])
    other = here / "other/lightning_logs/finetune/version_0"
    assert _table(here / "mine") == _table(other)
    # The interrupted run scored the weights before training in a process of its own.
    assert [each for each in differences(look(here / "mine"), look(other)) if "/loops/" in each] == []


def test_finetune_starts_from_newest_weights_of_fit(
    sample: Path, trained: Path, here: Path, capsys: Capture
) -> None:
    for verb in ("fit", "finetune"):
        folder = here / f"lightning_logs/{verb}/version_0"
        folder.mkdir(parents=True)
        shutil.copy(trained / "unet_voc.pth", folder)
        os.utime(folder / "unet_voc.pth", times=(0, 1000 if verb == "fit" else 2000))
    words = ["finetune", "--data.root", str(sample), "--trainer.fast_dev_run", "true"]
    words += [
        "--data.max_train_samples",
        "null",
        "--data.max_val_samples",
        "null",
        "--trainer.accelerator",
        "cpu",
    ]
    main(words)
    assert f"newest weights of fit: {Path('lightning_logs/fit/version_0')}" in capsys.readouterr().out
    shutil.rmtree(here / "lightning_logs/fit")
    said = refused(capsys, words)
    assert "finetune needs --ckpt_path FILE" in said
    assert str(Path("lightning_logs/finetune/version_0/unet_voc.pth")) in said


def test_allow_all_resumes_and_prints_every_difference(
    run: Path, capsys: Capture, recwarn: pytest.WarningsRecorder
) -> None:
    assert "no such condition" in refused(capsys, ["resume", str(run), "--allow", "weather"])
    main(["resume", str(run), "--allow", "all", "--model.lr", "0.001", "--data.augmentation", "light"])
    said = [str(each.message) for each in recwarn if "not resumed exactly" in str(each.message)]
    assert len(said) == 2
    assert "data (augmentation) none, now it is light" in said[0]
    assert "optimizer (lr) 0.0001, now it is 0.001" in said[1]


def test_allowed_difference_in_structure_raises(run: Path, capsys: Capture) -> None:
    words = ["resume", str(run), "--allow", "all", "--model.weight_decay", "0.1"]
    assert "does not match the flags" in refused(capsys, words)


def test_temporary_file_of_best_checkpoint_is_removed(run: Path) -> None:
    (run / ".best.ckpt.part").hardlink_to(run / "best.ckpt")  # killed between the two names
    main(["resume", str(run)])
    assert list(run.glob(".*.part")) == []


def test_share_twice_leaves_no_temporary_file(here: Path) -> None:
    path, other = here / "last.ckpt", here / "best.ckpt"
    path.write_bytes(b"state")
    for _ in range(2):
        share(path, other)
        assert sorted(each.name for each in here.iterdir()) == ["best.ckpt", "last.ckpt"]


def test_temporary_files_of_killed_run_are_removed_by_a_later_one(
    sample: Path, trained: Path, here: Path
) -> None:
    dead, alive = (here / f"lightning_logs/test/version_{k}/.predictions.part" for k in range(2))
    for folder in (dead, alive):
        folder.mkdir(parents=True)
        (folder / "2007_000027.png").touch()
    lock = lock_folder(alive.parent)
    try:
        main(["test", *scoring(trained, sample), "--trainer.accelerator", "cpu"])
    finally:
        lock.release()
    assert not dead.exists()
    assert alive.exists()


SLURM = {
    "SLURM_NTASKS": "1",
    "SLURM_NTASKS_PER_NODE": "1",
    "SLURM_JOB_ID": "77",
    "SLURM_JOB_NAME": "train",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
}


def _scontrol(here: Path, patch: pytest.MonkeyPatch, answer: int) -> None:
    """A job of SLURM with a stand-in for `scontrol`, which notes its arguments."""
    scontrol = here / "bin/scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> "{here}/asked"\necho no such job >&2\nexit {answer}\n')
    scontrol.chmod(0o755)
    for name, value in {**SLURM, "PATH": f"{scontrol.parent}:{os.environ['PATH']}"}.items():
        patch.setenv(name, value)


def test_failed_requeue_is_reported(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _scontrol(here, monkeypatch, 1)
    environment, strategy = SLURMEnvironment(), SimpleNamespace(barrier=lambda _: None)
    connector = SimpleNamespace(cluster_environment=environment)
    trainer: Any = SimpleNamespace(_accelerator_connector=connector, is_global_zero=True, strategy=strategy)
    assert "`scontrol requeue 77` failed: no such job" in requeue(trainer, signal.SIGUSR1)


def test_slurm_job_is_requeued_and_resumes_its_run(
    sample: Path, whole: Path, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    _scontrol(here, monkeypatch, 0)
    words = ["fit", *_flags(sample, here), *EVERY]
    main([*words[:-1], "2e-9", "--trainer.max_epochs", "1"])  # another command of the same job
    with pytest.MonkeyPatch.context() as patch:
        stop_at_hook(patch, "on_train_batch_start", 1, 3, signal.SIGUSR1)
        with pytest.raises(SystemExit) as end:
            main(words)
    assert end.value.code == 128 + signal.SIGUSR1
    assert (here / "asked").read_text() == "requeue 77\n"
    assert not list(here.glob("*.ckpt"))  # no hpc_ckpt, from which later runs of any job would start
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    main(words)
    assert _table(here / "lightning_logs/fit/version_1") == _table(whole)
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 0
    assert "is finished already" in capsys.readouterr().err
    assert len(list((here / "lightning_logs/fit").iterdir())) == 2
