"""Chains: a run is stopped again and again, and resumed, until it ends bitwise as if nothing had been.

`python -m tests.checkpoints.chains --chains 500` prints a line a chain; the exit code is 1 if one ended
otherwise. Runs are forked from a process that has imported everything, so that a chain takes seconds.
`--drawn` draws every setting of a run at random, together, instead of taking one of the named configurations.
"""

import argparse
import csv
import hashlib
import json
import os
import random
import re
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.trainer import call
from lightning.pytorch.utilities import rank_zero_only
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import vocseg.cli
import vocseg.commands.resume  # noqa: F401  # so that a fork need not import it
from vocseg.__main__ import main
from vocseg.data.synthetic import write_sample

TINY = "tu-test_efficientnet.r160_in1k"  # with linknet 0.1 M parameters
EVERY_BATCH = "--last_checkpoint.every_minutes 1e-9"
HANGING = 1800.0  # seconds from which a run hangs, also on a machine with much else to do
SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2]
EVENTS = "events.out.tfevents.*"
STOPPING = "lightning.pytorch.callbacks.EarlyStopping"
CONNECTED = "all processes are connected"

CONFIGURATIONS = {
    name: flags.split()
    for name, flags in {
        "epochs": "--last_checkpoint.every_minutes 0",
        "batches": EVERY_BATCH,
        "augmented": f"--data.augmentation strong --model.lr_scheduler onecycle {EVERY_BATCH}",
        "dropout": "--model.arch deeplabv3plus --model.lr_scheduler cosine --model.warmup_fraction 0.2 "
        f"{EVERY_BATCH}",
        "accumulated": "--trainer.accumulate_grad_batches 2 --trainer.gradient_clip_val 1 "
        f"--model.loss.dice 1 --model.loss.class_weights balanced {EVERY_BATCH}",
        "plateau": f"--model.lr_scheduler plateau --trainer.val_check_interval 0.5 {EVERY_BATCH}",
        "averaged": "--weight_averaging.kind ema --weight_averaging.decay 0.9 --data.augmentation light "
        f"--model.optimizer adamw --model.weight_decay 0.1 --model.encoder_lr_mult 0.1 {EVERY_BATCH}",
        "late": "--weight_averaging.kind swa --weight_averaging.swa_start 0.4 --model.optimizer sgd "
        f"--model.freeze_encoder_epochs 1 --model.lr 1e-2 {EVERY_BATCH}",
        "stopping": f"--trainer.callbacks+={STOPPING} --trainer.callbacks.monitor=loss/val "
        f"--trainer.callbacks.min_delta=10 --trainer.callbacks.patience=2 {EVERY_BATCH}",
    }.items()
}


def words(data: Path, root: Path) -> list[str]:
    """Flags of a run of a second; what is drawn follows and goes before them."""
    return [
        *("--model.arch", "linknet", "--model.encoder", TINY, "--model.encoder_weights", "null"),
        *("--data.root", str(data)),
        *("--data.image_size", "32", "--data.batch_size", "4", "--trainer.max_epochs", "3"),
        *("--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"),
        *("--trainer.log_every_n_steps", "2", "--image_panels.num_images", "0"),
        *("--trainer.default_root_dir", str(root)),
    ]


def drawn(chance: random.Random) -> list[str]:
    """A verb and settings of everything that has a place in a resumed run, each drawn by itself.

    Args:
        chance: What draws.
    """
    pick = chance.choice
    batch, epochs, train = pick((2, 4)), pick((2, 3, 4)), {2: 9, 4: 4}
    limit = pick((None, None, "0.8", "3"))
    batches = {None: train[batch], "0.8": int(train[batch] * 0.8), "3": 3}[limit]
    flags = ["--data.batch_size", f"{batch}", "--trainer.max_epochs", f"{epochs}"]
    if limit is not None:
        flags += [pick(("--trainer.limit_train_batches", "--trainer.overfit_batches")), limit]
    every = pick(("1", "1", "2", "null"))
    counts = [*map(str, range(1, batches + 1)), *(("7", "11") if every == "null" else ())]
    fractions = [] if every == "null" else ["1.0", "0.5", "0.3"]
    flags += ["--trainer.val_check_interval", pick([pick(counts), pick(fractions or counts)])]
    flags += ["--trainer.check_val_every_n_epoch", every]
    flags += ["--trainer.accumulate_grad_batches", pick("11234"), "--trainer.log_every_n_steps", pick("123")]
    flags += ["--trainer.num_sanity_val_steps", pick(("0", "1", "2", "-1"))]
    flags += ["--trainer.limit_val_batches", pick(("1.0", "1.0", "0.5", "1"))]
    flags += ["--trainer.gradient_clip_val", pick(("null", "1"))]
    flags += ["--trainer.max_steps", pick(("-1", "-1", f"{epochs * batches // 3 + 1}"))]
    flags += ["--weight_averaging.kind", pick(("none", "ema", "swa"))]
    flags += ["--weight_averaging.decay", pick(("0.9", "0.999"))]
    flags += ["--weight_averaging.swa_start", pick(("0", "0.4"))]
    flags += ["--model.lr_scheduler", pick(("constant", "poly", "cosine", "onecycle", "plateau", "plateau"))]
    flags += ["--model.warmup_fraction", pick(("0", "0.2"))]
    flags += ["--model.optimizer", pick(("adam", "adamw", "sgd"))]
    flags += ["--model.weight_decay", pick(("0", "0.1")), "--model.freeze_encoder_epochs", pick("001")]
    flags += ["--model.encoder_lr_mult", pick(("1", "0.1")), "--model.arch", pick(("linknet", "fpn"))]
    flags += ["--model.loss.dice", pick("01"), "--model.loss.class_weights", pick(("null", "balanced"))]
    flags += ["--data.augmentation", pick(("none", "light", "crops", "strong"))]
    flags += ["--data.eval_batch_size", pick(("null", "1")), "--image_panels.num_images", pick("02")]
    flags += ["--last_checkpoint.every_minutes", pick(("0", "1e-9", "0.003"))]
    flags += ["--last_checkpoint.every_n_epochs", pick("12")]
    flags += ["--best_weights.monitor", pick(("miou/val", "loss/val", "loss/train"))]
    if chance.random() < 0.3:
        end = f"{STOPPING}", "--trainer.callbacks.monitor=loss/val", "--trainer.callbacks.min_delta=10"
        flags += [f"--trainer.callbacks+={end[0]}", *end[1:], "--trainer.callbacks.patience=1"]
        flags += ["--trainer.min_epochs", pick("123")]
    if chance.random() < 0.3:
        flags += ["--config", "top_k"]
    flags += ["--seed_everything", f"{chance.randrange(1000)}", "--data.timeout", "900"]
    tuned = ["--data.max_train_samples", "null", "--data.max_val_samples", "null"]
    return ["finetune", *tuned, *flags] if chance.random() < 0.2 else ["fit", *flags]


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
    """Everything that a run left, without times and places; looked at in a fork."""
    path = run.with_name("outcome.json")
    code = wait(forked(lambda: path.write_text(json.dumps(look(run))), run.with_name("outcome.log")))
    assert code == 0, run.with_name("outcome.log").read_text()
    return dict(json.loads(path.read_text()))


def look(run: Path) -> dict[str, Any]:
    """The same, in this process: by file, and by entry within a file."""
    paths = sorted(path for path in run.rglob("*") if path.is_file() and not path.match(EVENTS))
    found: dict[str, Any] = {"files": [str(path.relative_to(run)) for path in paths]}
    for path in paths:
        name = str(path.relative_to(run))
        if path.suffix in (".ckpt", ".pth"):
            content = torch.load(path, map_location="cpu", weights_only=True)
            content.get("vocseg_run", {}).pop("curves", None)  # how many files of events there are
            found |= {f"{name}/{key}": value for key, value in entries(content)}
        elif path.name == "metrics.csv":
            found[name] = table(run)
        elif path.name == "config.yaml":
            found[name] = [line for line in path.read_text().splitlines() if not _is_free(line)]
        elif path.name != ".lock":
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return json.loads(json.dumps(found | events(run)))


def entries(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every number, word and tensor of nested containers, by its place."""
    if isinstance(value, dict):
        for key in value:
            yield from entries(value[key], f"{name}/{_placeless(str(key))}")
        yield name, f"{sorted(_placeless(str(key)) for key in value)}"
    elif isinstance(value, list | tuple):
        for k, item in enumerate(value):
            yield from entries(item, f"{name}/{k}")
        yield name, f"{len(value)}"
    elif isinstance(value, torch.Tensor):
        content = value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        yield name, f"{value.dtype}{tuple(value.shape)}{hashlib.sha256(content).hexdigest()[:16]}"
    else:
        yield name, _placeless(repr(value))


def _placeless(text: str) -> str:
    """Without the run's folder."""
    return re.sub(r"(^|')[^']*lightning_logs/\w+/version_\d+", r"\1RUN", text)


def _is_free(line: str) -> bool:
    """Whether a setting may differ from one start of a run to the next."""
    return line.strip().split(":")[0] in ("num_workers", "root", "default_root_dir")


def table(run: Path) -> list[dict[str, str]]:
    """The rows of metrics.csv, without speeds."""
    with (run / "metrics.csv").open(newline="") as file:
        return [
            {key: value for key, value in row.items() if not key.startswith("speed/")}
            for row in csv.DictReader(file)
        ]


def events(run: Path) -> dict[str, list[tuple[int, float | str]]]:
    """What TensorBoard shows: steps, values and pictures of everything but speeds."""
    reader = EventAccumulator(str(run), size_guidance={"scalars": 0, "images": 0})
    reader.Reload()
    found: dict[str, list[tuple[int, float | str]]] = {}
    for tag in reader.Tags()["scalars"]:
        if not tag.startswith("speed/"):
            found[f"events/{tag}"] = [(point.step, point.value) for point in reader.Scalars(tag)]
    for tag in reader.Tags()["images"]:
        pictures = [(each.step, each.encoded_image_string) for each in reader.Images(tag)]
        found[f"events/{tag}"] = [(step, hashlib.sha256(data).hexdigest()) for step, data in pictures]
    return found


class Chain:
    """One run of one or more processes, stopped by signals and gone on with."""

    def __init__(
        self, data: Path, root: Path, configuration: list[str], chance: random.Random, ranks: int = 1
    ) -> None:
        self.data, self.root, self.configuration, self.chance = data, root, configuration, chance
        self.verb = "fit"
        if configuration[0] in ("fit", "finetune"):
            self.verb, self.configuration = configuration[0], configuration[1:]
        self.ranks, self.log, self.stops, self.restarts, self._length = ranks, root / "log", 0, 0, 0
        self.kills = self.hooks = 0
        self.where: list[str] = []  # of each stop
        root.mkdir(parents=True)
        self.log.touch()

    def run_by_hooks(self, hooks: int, seconds: float, most: int) -> Path:
        """As `run`; half of the stops are signals, half of them come at a hook of Lightning's, not at a time.

        Args:
            hooks: Number of hooks of the whole run.
            seconds: See `run`.
            most: See `run`.
        """
        while True:
            stopping = self.stops < most
            number = self.chance.choice([signal.SIGKILL] * len(SIGNALS) + SIGNALS)
            at = self.chance.randrange(1, hooks) if stopping and self.chance.random() < 0.6 else 0
            pid = self._start(at, number)[0]
            if stopping and not at:
                begun = number != signal.SIGKILL or self.chance.random() < 0.7
                if begun:
                    self._begin(pid)
                code = wait(pid, self.chance.uniform(0, 0.4 if begun else 0.8) * seconds)
                if code is None:
                    os.kill(pid, number)
            else:
                code = None
            code = wait(pid, HANGING) if code is None else code
            assert code is not None, f"it hangs: {self.log.read_text()[-3000:]}"
            if code == 0:
                return self.runs()[-1]
            stopped = {-number, 128 + number}
            assert code in (stopped if stopping else ()), f"{code}: {self.log.read_text()[-3000:]}"
            self.stops += 1
            self.kills += number == signal.SIGKILL
            self.where.append(f"{signal.Signals(number).name}@{at or 'time'}")

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
            share = self.chance.uniform(0.1, 0.8)
            if stopping and (self.ranks > 1 or signal.SIGKILL not in signals):
                self._begin(pids[0])  # before, nobody listens, and who starts processes ends them
                share /= 2
            codes = [wait(pids[0], share * seconds if stopping else HANGING)]
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
        """Wait until it trains; several processes: until they are connected.

        Before, a process waits for the other for half an hour, and torchrun ends it.
        """
        seen, sign = self._length, "\nrun " if self.ranks == 1 else CONNECTED
        while sign not in self.log.read_text()[seen:] and not _ended(pid):
            time.sleep(0.01)

    def runs(self) -> list[Path]:
        """The folders of runs, the newest last."""
        found = (self.root / "lightning_logs" / self.verb).glob("version_*")
        return sorted(found, key=lambda path: int(path.name[8:]))

    def _start(self, at: int = 0, number: int = 0) -> list[int]:
        """Start, or resume, with another number of DataLoader workers.

        Args:
            at: Hook at which the process stops itself; 0: at none.
            number: By this signal.
        """
        line = ["--data.num_workers", str(self.chance.choice([0, 0, 0, 2]))]
        if runs := [run for run in self.runs() if (run / "last.ckpt").is_file()]:
            self.restarts += 1
            line = ["resume", str(runs[-1]), *line]
        else:
            line = [self.verb, *words(self.data, self.root), *self.configuration, *line]
            line += ["--trainer.devices", str(self.ranks)]
            line += ["--trainer.strategy", "ddp"] if self.ranks > 1 else []
        port, self._length = _free_port(), len(self.log.read_text()) if self.log.is_file() else 0
        count = self.root / "hooks"
        start = partial(_main, line, ranks=self.ranks, port=port, at=at, number=number, count=count)
        return [forked(partial(start, rank=rank), self.log) for rank in range(self.ranks)]


def _ended(pid: int) -> bool:
    """Whether a child ended; it can still be waited for."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def stop_at(hook: int, number: int) -> list[str]:
    """Let the process stop itself at a hook of Lightning's.

    Args:
        hook: Number of the call, from 1; 0: at none.
        number: The signal.

    Returns:
        The names of all hooks that were called, which grows.
    """
    call_hooks, called = call._call_callback_hooks, []  # type: list[str]

    def counted(trainer: Any, name: str, *args: Any, **kwargs: Any) -> None:
        called.append(name)
        if name == "on_train_epoch_start":
            print(CONNECTED, flush=True)
        if len(called) == hook:
            os.kill(os.getpid(), number)
        call_hooks(trainer, name, *args, **kwargs)

    call._call_callback_hooks = counted  # type: ignore[assignment]
    return called


def _main(
    line: list[str],
    rank: int = 0,
    ranks: int = 1,
    port: int = 0,
    at: int = 0,
    number: int = 0,
    count: Path | None = None,
) -> None:
    torch.set_num_threads(1)
    sys.argv[1:] = []
    called = stop_at(at, number)
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
    if count is not None:
        count.write_text(str(len(called)))


def _finished(run: Path) -> bool:
    state = torch.load(run / "last.ckpt", map_location="cpu", weights_only=True)["vocseg_run"]
    return bool(state["finished"])


def reference(
    data: Path, root: Path, configuration: list[str], ranks: int
) -> tuple[dict[str, Any], float, int]:
    """The outcome of a run that nobody stops, its seconds, and how many hooks were called."""
    chain = Chain(data, root, configuration, random.Random(0), ranks)
    since = time.monotonic()
    run = chain.run(0, 0)
    return outcome(run), time.monotonic() - since, int((root / "hooks").read_text())


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Names of the entries that are not as they should be."""
    return sorted(name for name in {*wanted, *found} if found.get(name) != wanted.get(name))


def run_chains(
    chains: int, most: int, seed: int, names: list[str], ranks: int = 1, signals: Sequence[int] = (9,)
) -> int:
    """Run so many, over the configurations in turn; the number of those that ended otherwise."""
    folder = Path(tempfile.mkdtemp(prefix="chains-"))
    # Whatever starts threads is done in forks, as a fork of a process that has threads may hang.
    wait(forked(lambda: write_sample(folder / "data", train=18, val=5, progress=False), folder / "log"))
    wanted: dict[str, tuple[dict[str, Any], float, int]] = {}
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


def _weights(data: Path, root: Path, arch: str) -> Path:
    """Weights to fine-tune, made once."""
    made = root / "lightning_logs/fit/version_0/unet_voc.pth"
    if not made.is_file():
        Chain(data, root, ["fit", "--model.arch", arch], random.Random(0)).run(0, 0)
    return made


def run_drawn(chains: int, most: int, seed: int, same: int) -> int:
    """Run chains of drawn settings, each stopped by signals and kills; the number of those that differ.

    Args:
        chains: How many.
        most: Stops of a chain.
        seed: Of all draws.
        same: Chains of the same settings, which share an undisturbed run.
    """
    folder = Path(tempfile.mkdtemp(prefix="chains-"))
    data = folder / "data"
    wait(forked(lambda: write_sample(data, train=18, val=5, progress=False), folder / "log"))
    stops = kills = bad = 0
    for k in range(chains):
        if not k % same:
            flags = drawn(random.Random(f"{seed}-{k // same}"))
            if flags[0] == "finetune":
                arch = flags[flags.index("--model.arch") + 1]
                flags += ["--ckpt_path", str(_weights(data, folder / arch, arch))]
            undisturbed = reference(data, folder / f"reference-{k}", flags, 1)
        chain = Chain(data, folder / f"{k}", flags, random.Random(f"{seed}-{k}-stops"))
        try:
            differ = differences(
                outcome(chain.run_by_hooks(undisturbed[2], undisturbed[1], most)), undisturbed[0]
            )
        except AssertionError as fault:
            differ = [str(fault)]
        stops, kills, bad = stops + chain.stops, kills + chain.kills, bad + bool(differ)
        print(f"{k}: {' '.join(chain.where)}; {chain.restarts} resumed: {differ or 'equal'}", flush=True)
        if differ:
            print(f"    {' '.join(flags)}", flush=True)
        else:
            shutil.rmtree(folder / f"{k}")
    print(f"{chains} chains, {stops} stops ({kills} SIGKILL), {bad} ended otherwise; {folder}", flush=True)
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
    parser.add_argument("--drawn", action="store_true", help="every setting drawn; signals and kills")
    parser.add_argument("--same", type=int, default=4, help="chains of the same drawn settings")
    parser.add_argument("--only", nargs="+", default=list(CONFIGURATIONS), choices=list(CONFIGURATIONS))
    return parser.parse_args()


if __name__ == "__main__":
    torch.set_num_threads(1)
    given = _arguments()
    if given.drawn:
        sys.exit(bool(run_drawn(given.chains, given.stops, given.seed, given.same)))
    numbers = [int(signal.Signals[name]) for name in given.signals]
    sys.exit(bool(run_chains(given.chains, given.stops, given.seed, given.only, given.ranks, numbers)))
