"""Entry point of the container: /input to /output, as Grand Challenge runs it.

DEEPPSMA_INPUT, DEEPPSMA_OUTPUT and DEEPPSMA_MODEL replace the platform's
folders; DEEPPSMA_RECIPE and DEEPPSMA_DEVICE the defaults. DEEPPSMA_DEADLINE
is when the result must be there, counted from the container's start: "28m"
unless told (the platform ends a job after 30 minutes), or "none".
"""

import os
from pathlib import Path

from deeppsma.cli.exit_status import guarded, leave


def main() -> None:
    """Segment the case in the input folder."""
    # Imported under guard: signals and short memory during these seconds end in one line, too.
    from deeppsma.cli.in_time import run_in_time
    from deeppsma.core.clock import container_age_s, duration_s
    from deeppsma.core.defaults import DEFAULT_RECIPE
    from deeppsma.core.errors import ConfigurationError
    from deeppsma.operation.job import Job, run_job

    model = Path(os.environ.get("DEEPPSMA_MODEL") or "/opt/ml/model")
    holds_model = model.is_dir() and any(model.iterdir())
    if os.environ.get("DEEPPSMA_MODEL"):
        holds_model = True  # asked for by name: it must be there
    job = Job(
        case=Path(os.environ.get("DEEPPSMA_INPUT") or "/input"),
        out=Path(os.environ.get("DEEPPSMA_OUTPUT") or "/output"),
        recipe=os.environ.get("DEEPPSMA_RECIPE") or DEFAULT_RECIPE,
        device=os.environ.get("DEEPPSMA_DEVICE") or "auto",
        weights=model if holds_model else None,
    )
    try:
        limit_s = duration_s(os.environ.get("DEEPPSMA_DEADLINE") or "28m")
    except ValueError as error:
        raise ConfigurationError("DEEPPSMA_DEADLINE", str(error), "mend it") from None
    if limit_s is None:
        run_job(job)
        return
    age_s = container_age_s()
    # A container that has been up for longer than a job may take was not started for this one.
    run_in_time(job, limit_s - age_s if age_s < limit_s else limit_s)


if __name__ == "__main__":
    leave(guarded(main))
