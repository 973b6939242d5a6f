"""Chains: a run is stopped again and again, and gone on with, until it ends as if nothing had been.

`python -m tests.runs.chains --chains 500` prints a line a chain; the exit code is 1 if one ended
otherwise. Runs are forked from a process that has imported everything, so that a chain takes seconds.
"""

import argparse
import csv
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_only
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import vocseg.cli
import vocseg.resume  # noqa: F401  # so that a fork need not import it
from vocseg.__main__ import main
from vocseg.data.sample import write_sample

TINY = "tu-test_efficientnet.r160_in1k"  # with linknet 0.1 M parameters
EVERY_BATCH = ["--last.every_minutes", "1e-9"]
STOPPING = "lightning.pytorch.callbacks.EarlyStopping"

CONFIGURATIONS: dict[str, list[str]] = {
    "epochs": ["--last.every_minutes", "0"],
    "batches": EVERY_BATCH,
    "augmented": ["--data.augmentation", "strong", "--model.schedule", "onecycle", *EVERY_BATCH],
    "dropout": [
        "--model.arch",
        "deeplabv3plus",
        "--model.schedule",
        "cosine",
        "--model.warmup",
        "0.2",
        *EVERY_BATCH,
    ],
    "accumulated": [
        "--trainer.accumulate_grad_batches",
        "2",
        *(
            "--trainer.gradient_clip_val",
            "1",
            "--model.loss.dice",
            "1",
            "--model.loss.class_weights",
            "balanced",
        ),
        *EVERY_BATCH,
    ],
    "plateau": ["--model.schedule", "plateau", "--trainer.val_check_interval", "0.5", *EVERY_BATCH],
    "averaged": [
        *("--average.kind", "ema", "--average.decay", "0.9", "--data.augmentation", "light"),
        *("--model.optimizer", "adamw", "--model.weight_decay", "0.1", "--model.encoder_lr_factor", "0.1"),
        *EVERY_BATCH,
    ],
    "late": [
        *("--average.kind", "swa", "--average.start", "0.4", "--model.freeze_encoder", "1"),
        *("--model.optimizer", "sgd", "--model.lr", "1e-2", *EVERY_BATCH),
    ],
    "stopping": [
        f"--trainer.callbacks+={STOPPING}",
        "--trainer.callbacks.monitor=loss/val",
        "--trainer.callbacks.min_delta=10",
        "--trainer.callbacks.patience=2",
        *EVERY_BATCH,
    ],
}


def words(data: Path, root: Path) -> list[str]:
    """Flags of a run of a second."""
    return [
        *("--model.arch", "linknet", "--model.encoder", TINY, "--model.encoder_weights", "null"),
        *("--data.root", str(data)),
        *("--data.size", "32", "--data.batch_size", "4", "--trainer.max_epochs", "3"),
        *("--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"),
        *("--trainer.log_every_n_steps", "2", "--panels.images", "0"),
        *("--trainer.default_root_dir", str(root)),
    ]


def forked(action: Callable[[], Any], log: Path) -> int:
    """Start a child; its exit code says how the action ended."""
    pid = os.fork()
    if pid:
        return pid
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    code = 0
    try:
        action()
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        code = 70
    sys.stdout.flush()
    os._exit(code)


def wait(pid: int, seconds: float | None = None) -> int | None:
    """The exit code (negative: a signal); None if it runs on after so many seconds."""
    end = None if seconds is None else time.monotonic() + seconds
    while True:
        found, status = os.waitpid(pid, 0 if end is None else os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if end is not None and time.monotonic() > end:
            return None
        time.sleep(0.002)


def outcome(run: Path) -> dict[str, Any]:
    """What a run ended in, without times and places; looked at in a fork."""
    path = run / "outcome.json"
    code = wait(forked(lambda: path.write_text(json.dumps(look(run))), run / "outcome.log"))
    assert code == 0, (run / "outcome.log").read_text()
    return dict(json.loads(path.read_text()))


def look(run: Path) -> dict[str, Any]:
    """The same, in this process."""
    last = torch.load(run / "last.ckpt", map_location="cpu", weights_only=True)
    state = last["vocseg_run"]
    best = torch.load(run / "best.ckpt", map_location="cpu", weights_only=True)
    weights = torch.load(run / "unet_voc.pth", map_location="cpu", weights_only=True)
    kept = {key: value for key, value in last.items() if key not in ("loops", "vocseg_run")}
    return {
        "last": digest(kept),
        "finished": state["finished"],
        "best": digest({key: best[key] for key in ("state_dict", "optimizer_states", "epoch")}),
        "weights": digest(weights),
        "table": table(run),
        "events": events(run),
    }


def digest(value: Any) -> str:
    """Over every number and word of a nest of containers, in their order."""
    sha = hashlib.sha256()

    def add(each: Any) -> None:
        if isinstance(each, dict):
            for key in sorted(each, key=str):
                sha.update(str(key).encode())
                add(each[key])
        elif isinstance(each, list | tuple):
            for item in each:
                add(item)
        elif isinstance(each, torch.Tensor):
            sha.update(f"{each.dtype}{tuple(each.shape)}".encode())
            sha.update(each.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        else:
            sha.update(repr(each).encode())

    add(value)
    return sha.hexdigest()[:16]


def table(run: Path) -> list[dict[str, str]]:
    """The rows of metrics.csv, without speeds."""
    with (run / "metrics.csv").open(newline="") as file:
        return [
            {key: value for key, value in row.items() if not key.startswith("speed/")}
            for row in csv.DictReader(file)
        ]


def events(run: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows: steps and values of every curve but speeds."""
    reader = EventAccumulator(str(run), size_guidance={"scalars": 0})
    reader.Reload()
    return {
        tag: [(point.step, point.value) for point in reader.Scalars(tag)]
        for tag in reader.Tags()["scalars"]
        if not tag.startswith("speed/")
    }


class Chain:
    """One run of one or more processes, stopped by signals and gone on with."""

    def __init__(
        self, data: Path, root: Path, configuration: list[str], chance: random.Random, ranks: int = 1
    ) -> None:
        self.data, self.root, self.configuration, self.chance = data, root, configuration, chance
        self.ranks, self.log, self.stops, self.restarts, self._length = ranks, root / "log", 0, 0, 0
        root.mkdir(parents=True)

    def run(self, seconds: float, most: int, signals: Sequence[int] = (signal.SIGKILL,)) -> Path:
        """Go on until the run ends.

        Args:
            seconds: What a whole run takes.
            most: Stops.
            signals: One of them is sent, to one of the processes or to all.

        Returns:
            The folder of the run that ended.
        """
        while True:
            stopping = self.stops < most
            pids = self._start()
            if stopping and (self.ranks > 1 or signal.SIGKILL not in signals):
                self._begin(pids[0])  # before, nobody listens, and who starts processes ends them
            codes = [wait(pids[0], self.chance.uniform(0.1, 0.8) * seconds if stopping else 300)]
            if codes[0] is None:
                assert stopping, "it hangs"
                self._stop(pids, self.chance.choice(signals))
                continue
            codes += [wait(pid, 60) for pid in pids[1:]]
            assert codes == [0] * self.ranks, f"{codes}: {self.log.read_text()[-3000:]}"
            return self.runs()[-1]

    def _stop(self, pids: list[int], number: int) -> None:
        """Send a signal to some; all must end within a minute."""
        self.stops += 1
        hit = self.chance.choice([[pid] for pid in pids] + [pids])
        for pid in hit:
            os.kill(pid, number)
        codes = [wait(pid, 60) for pid in pids]
        assert None not in codes, f"it hangs after signal {number}: {self.log.read_text()[-3000:]}"
        if number != signal.SIGKILL:  # a run that was ending anyway ends well
            assert set(codes) <= {128 + number, 0}, f"{codes}: {self.log.read_text()[-3000:]}"

    def _begin(self, pid: int) -> None:
        """Wait until it trains."""
        seen = self._length
        while "\nrun " not in self.log.read_text()[seen:] and not _ended(pid):
            time.sleep(0.01)

    def runs(self) -> list[Path]:
        """The folders of runs, the newest last."""
        found = (self.root / "lightning_logs" / "fit").glob("version_*")
        return sorted(found, key=lambda path: int(path.name[8:]))

    def _start(self) -> list[int]:
        """Start, or go on, with another number of loader processes."""
        line = ["--data.workers", str(self.chance.choice([0, 0, 0, 2]))]
        if runs := [run for run in self.runs() if (run / "last.ckpt").is_file()]:
            self.restarts += 1
            line = ["resume", str(runs[-1]), *line]
        else:
            line = ["fit", *words(self.data, self.root), *self.configuration, *line]
            line += ["--trainer.devices", str(self.ranks)]
            line += ["--trainer.strategy", "ddp"] if self.ranks > 1 else []
        port, self._length = _free_port(), len(self.log.read_text()) if self.log.is_file() else 0
        return [forked(partial(_main, line, rank, self.ranks, port), self.log) for rank in range(self.ranks)]


def _ended(pid: int) -> bool:
    """Whether a child ended; it can still be waited for."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _main(line: list[str], rank: int = 0, ranks: int = 1, port: int = 0) -> None:
    torch.set_num_threads(1)
    if ranks > 1:  # as torchrun has it
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks)}
        os.environ |= {"LOCAL_WORLD_SIZE": str(ranks), "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "chain"}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        rank_zero_only.rank = rank  # which was set on import
    try:
        main(line)
    except SystemExit as end:
        finished = end.code == 2 and line[0] == "resume" and _finished(Path(line[1]))
        if not finished:  # killed after its last checkpoint: there is nothing left to do
            raise


def _finished(run: Path) -> bool:
    state = torch.load(run / "last.ckpt", map_location="cpu", weights_only=True)["vocseg_run"]
    return bool(state["finished"])


def reference(data: Path, root: Path, configuration: list[str], ranks: int) -> tuple[dict[str, Any], float]:
    """The outcome of a run that nobody stops, and its seconds."""
    chain = Chain(data, root, configuration, random.Random(0), ranks)
    since = time.monotonic()
    return outcome(chain.run(0, 0)), time.monotonic() - since


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """What is not as it should be."""
    return [name for name in wanted if found[name] != wanted[name]]


def run_chains(
    chains: int, most: int, seed: int, names: list[str], ranks: int = 1, signals: Sequence[int] = (9,)
) -> int:
    """Run so many, over the configurations in turn; the number of those that ended otherwise."""
    folder = Path(tempfile.mkdtemp(prefix="chains-"))
    # Whatever starts threads is done in forks, as a fork of a process that has threads may hang.
    wait(forked(lambda: write_sample(folder / "data", train=18, val=5, progress=False), folder / "log"))
    wanted: dict[str, tuple[dict[str, Any], float]] = {}
    stops = bad = 0
    for k in range(chains):
        name = names[k % len(names)]
        configuration, data, chance = CONFIGURATIONS[name], folder / "data", random.Random(f"{seed}-{k}")
        if name not in wanted:
            wanted[name] = reference(data, folder / f"reference-{name}", configuration, ranks)
        chain = Chain(data, folder / f"{k}", configuration, chance, ranks)
        try:
            differ = differences(outcome(chain.run(wanted[name][1], most, signals)), wanted[name][0])
        except AssertionError as fault:
            differ = [str(fault)]
        stops += chain.stops
        bad += bool(differ)
        print(f"{k} {name}: {chain.stops} stops, {chain.restarts} resumed: {differ or 'equal'}", flush=True)
        if not differ:
            shutil.rmtree(folder / f"{k}")
    print(f"{chains} chains, {stops} stops, {bad} ended otherwise" + (f"; see {folder}" if bad else ""))
    if not bad:
        shutil.rmtree(folder)
    return bad


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--chains", type=int, default=20)
    parser.add_argument("--stops", type=int, default=4, help="at most, in a chain")
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--signals", nargs="+", default=["SIGKILL"], help="one of them stops a run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=list(CONFIGURATIONS), choices=list(CONFIGURATIONS))
    return parser.parse_args()


if __name__ == "__main__":
    torch.set_num_threads(1)
    given = _arguments()
    numbers = [int(signal.Signals[name]) for name in given.signals]
    sys.exit(bool(run_chains(given.chains, given.stops, given.seed, given.only, given.ranks, numbers)))
