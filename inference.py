"""Entry point of the container: /input to /output, as Grand Challenge runs it.

DEEPPSMA_INPUT, DEEPPSMA_OUTPUT and DEEPPSMA_MODEL replace the platform's
folders; DEEPPSMA_RECIPE and DEEPPSMA_DEVICE the defaults.
"""

import os
from pathlib import Path

from deeppsma.cli.exit_status import guarded, leave


def main() -> None:
    """Segment the case in the input folder."""
    # Imported under guard: signals and short memory during these seconds end in one line, too.
    from deeppsma.core.defaults import DEFAULT_RECIPE
    from deeppsma.operation.job import Job, run_job

    model = Path(os.environ.get("DEEPPSMA_MODEL") or "/opt/ml/model")
    holds_model = model.is_dir() and any(model.iterdir())
    if os.environ.get("DEEPPSMA_MODEL"):
        holds_model = True  # asked for by name: it must be there
    run_job(
        Job(
            case=Path(os.environ.get("DEEPPSMA_INPUT") or "/input"),
            out=Path(os.environ.get("DEEPPSMA_OUTPUT") or "/output"),
            recipe=os.environ.get("DEEPPSMA_RECIPE") or DEFAULT_RECIPE,
            device=os.environ.get("DEEPPSMA_DEVICE") or "auto",
            weights=model if holds_model else None,
        )
    )


if __name__ == "__main__":
    leave(guarded(main))
