"""`resume`: continues an interrupted run in its own folder."""

import json
from pathlib import Path
from typing import get_args

from vocseg.checkpoints.compatibility import Allowance
from vocseg.checkpoints.resume import find_checkpoint
from vocseg.cli import VocCLI
from vocseg.errors import UserError

_HELP = f"""usage: python -m vocseg resume RUN [--allow CONDITION[,CONDITION]] [FLAGS]

Goes on with the run in the folder RUN (lightning_logs/fit/version_N) from its newest checkpoint, as if it had
never been broken off: the same weights, rates and curves, to the bit, on the same kind of processor.

  --allow   conditions that may differ, so that the run goes on, but not exactly:
            {", ".join(get_args(Allowance))}
  FLAGS     of fit, for what may be changed at will, for example --data.num_workers 4 or --data.root FOLDER"""


def resume(words: list[str]) -> VocCLI | None:
    """The verb.

    Args:
        words: What follows it on the command line.

    Raises:
        UserError: If there is no such run, or nothing of it to go on from.
    """
    if not words or words[0] in ("-h", "--help"):
        print(_HELP)
        return None
    folder = Path(words[0])
    config = folder / "config.yaml"
    if not config.is_file():
        raise UserError(
            f"resume {folder}: no folder of a run, as it has no config.yaml; name one that fit made"
        )
    flags, allowed = _allowed(words[1:])
    resumed = find_checkpoint(folder)
    always = ["--data.download", "false"]  # the data were there: elsewhere they are named, not fetched
    allow = ["--last_checkpoint.allow_mismatch", json.dumps(allowed)] if allowed else []
    return VocCLI([resumed.verb, "--config", str(config), *always, *allow, *flags], resumed=resumed)


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
        if name not in get_args(Allowance):
            raise UserError(f"--allow {name}: no such condition; there are {', '.join(get_args(Allowance))}")
    return flags, allowed
