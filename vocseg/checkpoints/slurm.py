"""Identity and requeueing of SLURM jobs."""

import os
import subprocess
from collections.abc import Sequence
from typing import Any

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Trainer

_TIMEOUT = 30  # seconds


def slurm_job(words: Sequence[str]) -> dict[str, Any] | None:
    """Return the identity of a command line within its SLURM job, for checkpoints. None outside of SLURM."""
    return {"id": _job_id(), "command": list(words)} if SLURMEnvironment.detect() else None


def requeue(trainer: Trainer, number: int) -> str:
    """Requeue the SLURM job if the signal announces its time limit. All processes must call this.

    Lightning's handler is not used: it saves within a signal handler, during a step, in the root of all runs.

    Returns:
        An addition to the closing message. Empty if the job is not requeued.
    """
    environment = trainer._accelerator_connector.cluster_environment
    if not isinstance(environment, SLURMEnvironment) or not environment.auto_requeue:
        return ""
    if number != environment.requeue_signal:
        return ""
    message = _scontrol_requeue() if trainer.is_global_zero else ""
    trainer.strategy.barrier("requeue")  # SLURM may kill the other tasks when one ends early
    return message


def _scontrol_requeue() -> str:
    command = ["scontrol", "requeue", _job_id()]
    try:
        subprocess.run(command, check=True, timeout=_TIMEOUT, capture_output=True, text=True)
    except (OSError, subprocess.SubprocessError) as error:
        why = " ".join((getattr(error, "stderr", "") or str(error)).split())
        return f"; `{' '.join(command)}` failed: {why}. Submit a job with that resume command"
    return f"; job {command[-1]} is requeued"


def _job_id() -> str:
    """The job id as `scontrol` expects it: ARRAY_TASK for an array."""
    array, task = (os.environ.get(f"SLURM_ARRAY_{name}_ID") for name in ("JOB", "TASK"))
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "")
