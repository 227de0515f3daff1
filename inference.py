"""Entry point of the container: /input to /output, as Grand Challenge runs it.

DEEPPSMA_INPUT, DEEPPSMA_OUTPUT and DEEPPSMA_MODEL replace the platform's
folders; DEEPPSMA_RECIPE and DEEPPSMA_DEVICE the defaults.
"""

import os
import sys
from pathlib import Path

from deeppsma.job import Job, guarded, run_job
from deeppsma.recipe import DEFAULT_RECIPE


def main() -> None:
    """Segment the case in the input folder."""
    model = Path(os.environ.get("DEEPPSMA_MODEL", "/opt/ml/model"))
    holds_model = model.is_dir() and any(model.iterdir())
    if "DEEPPSMA_MODEL" in os.environ:
        holds_model = True  # asked for by name: it must be there
    run_job(
        Job(
            case=Path(os.environ.get("DEEPPSMA_INPUT", "/input")),
            out=Path(os.environ.get("DEEPPSMA_OUTPUT", "/output")),
            recipe=os.environ.get("DEEPPSMA_RECIPE", DEFAULT_RECIPE),
            device=os.environ.get("DEEPPSMA_DEVICE", "auto"),
            weights=model if holds_model else None,
        )
    )


if __name__ == "__main__":
    sys.exit(guarded(main))
