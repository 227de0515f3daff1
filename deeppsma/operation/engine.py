"""What stays between cases: loaded networks, and nothing else. For servers, nodes and cohort workers."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING

from deeppsma.core.errors import ConfigurationError
from deeppsma.core.memory import return_memory, reuse_memory
from deeppsma.models.store import WeightsStore
from deeppsma.models.weights import keep_networks
from deeppsma.pipeline.method import Method
from deeppsma.pipeline.recipe import load_recipe

if TYPE_CHECKING:
    from deeppsma.operation.job import Beside, Job
    from deeppsma.pipeline.run_report import RunReport


class Engine:
    """Runs jobs one after the other in this process; networks stay loaded.

    Parameters
    ----------
    recipe, device, weights
        As of `deeppsma.operation.job.Job`; what `warm` prepares for.
    """

    def __init__(self, recipe: str, device: str = "auto", weights: Path | None = None) -> None:
        self.recipe, self.device, self.weights = recipe, device, weights
        keep_networks()
        reuse_memory()

    def warm(self) -> list[str]:
        """Load the recipe's networks and run one window of each; gives a line each.

        Raises
        ------
        DeepPsmaError
            If one cannot be used, or the device cannot.
        """
        from deeppsma.operation.doctor import examine

        Method.choose(load_recipe(self.recipe), WeightsStore.default(self.weights))
        findings = list(examine(None, self.weights, self.device, self.recipe))
        if failed := [finding for finding in findings if finding.state == "failed"]:
            raise ConfigurationError(failed[0].check, failed[0].found, failed[0].remedy)
        gc.collect()
        gc.freeze()  # what stays is not looked through after every case: 0.2 s each
        return [str(finding) for finding in findings]

    def run(self, job: Job, beside: Beside | None = None) -> tuple[list[Path], RunReport]:
        """Run a job; memory is handed back afterwards, whatever came of it.

        Parameters
        ----------
        job, beside
            As of `deeppsma.operation.job.run_job`.

        Raises
        ------
        DeepPsmaError
            As of `deeppsma.operation.job.run_job`.
        """
        from deeppsma.operation.job import run_job

        try:
            return run_job(job, beside=beside)
        finally:
            hand_memory_back()


def hand_memory_back() -> None:
    """Let go of what a case leaves: reference cycles, and what the allocator keeps for later."""
    gc.collect()
    return_memory()
