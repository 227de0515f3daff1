"""Entry point of the container: /input to /output, as Grand Challenge runs it.

DEEPPSMA_INPUT, DEEPPSMA_OUTPUT and DEEPPSMA_MODEL replace the platform's
folders; DEEPPSMA_RECIPE and DEEPPSMA_DEVICE the defaults. DEEPPSMA_MIRROR, 1
or 0, runs models of nnU-Net with or without mirrored images, whatever the
recipe says. DEEPPSMA_DEADLINE is when the result must be there, counted from the container's start: "28m"
unless told (the platform ends a job after 30 minutes), or "none".
"""

import os
import sys
from collections.abc import Sequence

from deeppsma.cli.exit_status import guarded, leave


def main(arguments: Sequence[str] = ()) -> None:
    """Segment the case in the input folder."""
    # Imported under guard: signals and short memory during these seconds end in one line, too.
    from deeppsma.cli.image import refuse_arguments, telling_of_mounts

    refuse_arguments(arguments)
    from deeppsma.cli.in_time import run_in_time
    from deeppsma.core.clock import container_age_s, duration_s
    from deeppsma.core.errors import ConfigurationError
    from deeppsma.operation.job import OUTPUT, job_of_container, run_job

    job = job_of_container()
    try:
        limit_s = duration_s(os.environ.get("DEEPPSMA_DEADLINE") or "28m")
    except ValueError as error:
        raise ConfigurationError("DEEPPSMA_DEADLINE", str(error), "mend it") from None
    with telling_of_mounts(job.out, OUTPUT):
        if limit_s is None:
            run_job(job)
            return
        age_s = container_age_s()
        # A container that has been up for longer than a job may take was not started for this one.
        run_in_time(job, limit_s - age_s if age_s < limit_s else limit_s)


if __name__ == "__main__":
    leave(guarded(lambda: main(sys.argv[1:])))
