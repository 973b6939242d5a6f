"""`resume`: continues an interrupted run in its own folder."""

import argparse
import json
from pathlib import Path
from typing import get_args

from vocseg.checkpoints.compatibility import Allowance
from vocseg.checkpoints.resume import find_checkpoint
from vocseg.cli import VocCLI
from vocseg.errors import UserError

_HELP = f"""usage: python -m vocseg resume RUN [--allow CONDITION[,CONDITION]] [FLAGS]

Resumes the run in the folder RUN (lightning_logs/fit/version_N) from its latest valid checkpoint. The result
is bitwise identical to an uninterrupted run on the same hardware.

  --allow   conditions that may differ from the run's; the result is not bitwise identical then:
            {", ".join(get_args(Allowance))}
  FLAGS     flags of fit that may change, for example --data.num_workers 4 or --data.root FOLDER"""


def resume(words: list[str]) -> VocCLI | None:
    """Resume a run, or raise a `UserError` if there is nothing to resume."""
    if not words or words[0] in ("-h", "--help"):
        print(_HELP)
        return None
    folder = Path(words[0])
    config = folder / "config.yaml"
    if not config.is_file():
        raise UserError(
            f"resume {folder}: not a run directory (no config.yaml). Pass e.g. lightning_logs/fit/version_0."
        )
    flags, allowed = _allowed(words[1:])
    resumed = find_checkpoint(folder)
    always = ["--data.download", "false"]  # the run had its data: a missing data set is an error
    allow = ["--last_checkpoint.allow_mismatch", json.dumps(allowed)] if allowed else []
    return VocCLI([resumed.verb, "--config", str(config), *always, *allow, *flags], resumed=resumed)


def _allowed(words: list[str]) -> tuple[list[str], list[str]]:
    """The arguments without --allow, and its conditions."""
    parser = argparse.ArgumentParser("python -m vocseg resume", add_help=False, allow_abbrev=False)
    parser.add_argument("--allow", action="append", default=[])
    found, flags = parser.parse_known_args(words)
    allowed = ",".join(found.allow).split(",") if found.allow else []
    for name in allowed:
        if name not in get_args(Allowance):
            raise UserError(
                f"--allow {name}: no such condition. Use one of {', '.join(get_args(Allowance))}."
            )
    return flags, allowed
