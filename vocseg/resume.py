"""Going on with a run: from its newest checkpoint, in its own folder, with its own settings."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from jsonargparse import Namespace
from lightning.pytorch.utilities import rank_zero_only

from vocseg.errors import UserError
from vocseg.runs.checkpoints import STATE_KEY
from vocseg.runs.conditions import Condition
from vocseg.runs.curves import rewind
from vocseg.runs.folder import LOGS
from vocseg.runs.going_on import newest_whole_checkpoint, read_checkpoint
from vocseg.runs.saving import share

if TYPE_CHECKING:
    from vocseg.cli import VocCLI

_HELP = f"""usage: python -m vocseg resume RUN [--allow CONDITION[,CONDITION]] [FLAGS]

Goes on with the run in the folder RUN (lightning_logs/fit/version_N) from its newest checkpoint, as if it had
never been broken off: the same weights, rates and curves, to the bit, on the same kind of processor.

  --allow   conditions that may differ, so that the run goes on, but not exactly:
            {", ".join(get_args(Condition))}
  FLAGS     of fit, for what may be changed at will, for example --data.workers 4 or --data.root FOLDER"""


@dataclass(frozen=True)
class Resumed:
    """A run that goes on.

    Attributes:
        folder: Its folder.
        checkpoint: The file from which.
        curves: How far its curves were then.
    """

    folder: Path
    checkpoint: Path
    curves: dict[str, int]

    def rewind(self) -> None:
        """Take back what came after the checkpoint."""
        rewind(self.folder, self.curves)


def resume(words: list[str]) -> "VocCLI | None":
    """The verb.

    Args:
        words: What follows it on the command line.

    Raises:
        UserError: If there is no such run, or nothing of it to go on from.
    """
    if not words or words[0] in ("-h", "--help"):
        print(_HELP)
        return None
    from vocseg.cli import VocCLI

    folder = Path(words[0])
    config = folder / "config.yaml"
    if not config.is_file():
        raise UserError(
            f"resume {folder}: no folder of a run, as it has no config.yaml; name one that fit made"
        )
    flags, allowed = _allowed(words[1:])
    verb = folder.resolve().parent.name
    verb = verb if verb == "finetune" else "fit"
    always = ["--data.download", "false"]  # the data were there: elsewhere they are named, not fetched
    allow = ["--last.allow", json.dumps(allowed)] if allowed else []
    return VocCLI([verb, "--config", str(config), *always, *allow, *flags], resumed=find_resumed(folder))


def newest_run(config: Namespace) -> Resumed:
    """The run that `--ckpt_path last` means: the one whose config.yaml is given, else the newest.

    Args:
        config: The flags of the verb.

    Raises:
        UserError: If there is none.
    """
    given = [Path(str(path)).parent for path in config.get("config") or []]
    runs = [folder for folder in given if folder.name.startswith("version_")]
    if not runs:
        root = Path(config["trainer"]["default_root_dir"] or ".") / LOGS / "fit"
        found = (path.parent for path in root.glob("version_*/last.ckpt"))
        runs = sorted(found, key=lambda folder: (folder / "last.ckpt").stat().st_mtime)
        if not runs:
            raise UserError(f"--ckpt_path last: there is no run with a last.ckpt in {root}")
    return find_resumed(runs[-1])


def find_resumed(folder: Path) -> Resumed:
    """The newest checkpoint of a run.

    Raises:
        UserError: If there is none, or the run is finished.
    """
    path, faults = newest_whole_checkpoint(folder)
    main = getattr(rank_zero_only, "rank", 0) == 0
    for fault in faults if main else ():
        print(f"vocseg: {fault}", file=sys.stderr)
    state: dict[str, Any] = read_checkpoint(path).get(STATE_KEY, {})
    if main and state.get("is_best") and path.name == "last.ckpt":  # killed before it got its second name
        share(path, folder / "best.ckpt")
    if state.get("finished"):
        raise UserError(
            f"nothing to resume in {folder}: it is finished, after epoch {state['epoch']}; to train on, use "
            f"finetune, or fit --ckpt_path {path} --trainer.max_epochs N"
        )
    return Resumed(folder, path, state.get("curves", {}))


def _allowed(words: list[str]) -> tuple[list[str], list[str]]:
    """The words without --allow, and the conditions that it names."""
    flags: list[str] = []
    allowed: list[str] = []
    rest = iter(words)
    for word in rest:
        name, _, value = word.partition("=")
        if name != "--allow":
            flags.append(word)
            continue
        allowed += (value or next(rest, "")).split(",")
    for name in allowed:
        if name not in get_args(Condition):
            raise UserError(f"--allow {name}: no such condition; there are {', '.join(get_args(Condition))}")
    return flags, allowed
