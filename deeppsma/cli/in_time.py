"""A job with a time limit, as the command line and the container run it."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from deeppsma.cli.exit_status import SaidAlready, guarded

if TYPE_CHECKING:
    from pathlib import Path

    from deeppsma.operation.job import Job


def run_in_time(job: Job, left_s: float, show_progress: bool = False) -> tuple[Path, ...]:
    """Run a job so that its result, or the best answer until then, is there in time.

    Parameters
    ----------
    job
        What is asked for.
    left_s
        From now.
    show_progress
        On stderr, while networks run.

    Returns
    -------
    tuple of Path
        What was written.

    Raises
    ------
    SaidAlready
        If the job failed; its line stands on stderr.
    DeepPsmaError
        If there was no answer in time, or the output folder cannot be used.
    """
    from deeppsma.operation.deadline import run_until, said

    until = time.monotonic() + left_s

    def compute(answers: Path) -> int:
        def work() -> None:
            from deeppsma.operation.answers import FULL, Steps
            from deeppsma.operation.job import run_job

            run_job(replace(job, out=answers / FULL), show_progress, Steps(answers, until))

        return guarded(work)

    ended = run_until(job.out, until, compute)
    if ended.status:
        raise SaidAlready(ended.status)
    if line := said(ended):
        print(line, file=sys.stderr, flush=True)
    return ended.written
