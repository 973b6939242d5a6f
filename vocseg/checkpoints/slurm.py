"""Identity and requeueing of SLURM jobs."""

import os
import subprocess
from collections.abc import Sequence
from typing import Any

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Trainer

_SECONDS = 30  # for SLURM's answer


def slurm_job(words: Sequence[str]) -> dict[str, Any] | None:
    """Identity of this command within its SLURM job, as checkpoints hold it; None outside of SLURM.

    Args:
        words: The command.
    """
    if not SLURMEnvironment.detect():
        return None
    return {"id": _job_id(), "command": list(words)}


def requeue(trainer: Trainer, number: int) -> str:
    """Ask SLURM to start the job again, if a signal means that its time is over; every process must call.

    Lightning's own handler also does so, but it saves within a signal handler, in the midst of a step, and
    it saves `hpc_ckpt_N.ckpt` in the root of all runs, from where any later run of any job would start.

    Args:
        trainer: Lightning's.
        number: The signal.

    Returns:
        What to add to the message about the end; empty: the job is not to be requeued.
    """
    environment = trainer._accelerator_connector.cluster_environment
    if not isinstance(environment, SLURMEnvironment) or not environment.auto_requeue:
        return ""
    if number != environment.requeue_signal:
        return ""
    said = _ask() if trainer.is_global_zero else ""
    trainer.strategy.barrier("requeue")  # a task that ends early may cost the others their lives
    return said


def _ask() -> str:
    command = ["scontrol", "requeue", _job_id()]
    try:
        subprocess.run(command, check=True, timeout=_SECONDS, capture_output=True, text=True)
    except (OSError, subprocess.SubprocessError) as fault:
        why = " ".join((getattr(fault, "stderr", "") or str(fault)).split())
        return f"; `{' '.join(command)}` failed: {why}. Submit a job that runs that resume command"
    return f"; job {command[-1]} is requeued"


def _job_id() -> str:
    """As `scontrol` takes it: of an array's task with its number."""
    array, task = (os.environ.get(f"SLURM_ARRAY_{name}_ID") for name in ("JOB", "TASK"))
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "")
