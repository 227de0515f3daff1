"""Segment a case: masks of both tracers, and the run report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deeppsma.core.defaults import DEFAULT_RECIPE
from deeppsma.core.run_log import RunLog
from deeppsma.core.stopwatch import Stopwatch
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.inference.ensemble import ProgressBar
from deeppsma.io.case import Case
from deeppsma.io.result_folder import output_folder, write_result
from deeppsma.models.store import WeightsStore
from deeppsma.pipeline.case_run import CaseRun
from deeppsma.pipeline.method import Method
from deeppsma.pipeline.recipe import Recipe, load_recipe
from deeppsma.pipeline.run_report import RunReport
from deeppsma.preprocessing.dicom_case import open_case


@dataclass(frozen=True)
class Segmentation:
    """What came out.

    Parameters
    ----------
    masks
        By tracer of the case: 0/1, uint8, [z, y, x], on the exact grid of the
        PET.
    report
        The run report.
    probabilities
        By tracer, where asked for: probability of disease, float32, on the
        exact grid of the PET; 0 below the threshold. The networks' own,
        before region growing and refinement, and not calibrated on real scans.
    foci
        By tracer, where the recipe votes on foci: a row of plain values for
        each, measurements, votes and verdict.
    """

    masks: Mapping[Tracer, Volume]
    report: RunReport
    probabilities: Mapping[Tracer, Volume] = field(default_factory=dict)
    foci: Mapping[Tracer, tuple[dict[str, Any], ...]] = field(default_factory=dict)

    def save(self, folder: Path | str) -> list[Path]:
        """Write masks and report as ``deeppsma segment`` does; an earlier result there is replaced.

        Parameters
        ----------
        folder
            Made if it is not there.

        Returns
        -------
        list of Path
            What was written.

        Raises
        ------
        OutputError
            If something cannot be written; nothing is there then.
        """
        with output_folder(Path(folder)) as staging:
            return write_result(staging, Path(folder), self.masks, self.report.as_dict())


def segment(
    case: Case | Path | str,
    recipe: Recipe | str = DEFAULT_RECIPE,
    weights: WeightsStore | Path | str | None = None,
    device: str = "auto",
    progress: ProgressBar | None = None,
    watch: Stopwatch | None = None,
    with_probabilities: bool = False,
    opened: Callable[[CaseRun, Method], Method] | None = None,
    mirrored: bool | None = None,
) -> Segmentation:
    """Segment a case.

    Parameters
    ----------
    case
        A case, or the folder of one; DICOM, too.
    recipe
        A recipe, or the name of one.
    weights
        Where the recipe's members are; a folder comes before the shipped
        weights. None for the shipped ones.
    device
        "auto", "cuda", "cpu" or "openvino".
    progress
        Shows how many windows are done.
    watch
        Stage timings are added to it.
    with_probabilities
        Also give the probability of disease at every voxel.
    opened
        Called once the case is open, before all networks have run; gives the
        method to go on with. `deeppsma.operation.answers` makes early answers so.
    mirrored
        Whether models of nnU-Net are averaged over mirrored images, too (2, 4 or
        8 times the work); None for what the recipe, or else each model, says.

    Returns
    -------
    Segmentation
        Where no voxel reaches its threshold, the masks are empty.

    Raises
    ------
    DeepPsmaError
        One line that names the cause and the remedy.
    """
    watch = watch or Stopwatch()
    with watch.stage("read headers"):
        case = case if isinstance(case, Case) else open_case(case)
    log = RunLog(watch, case=case.name)
    with log.watch.stage("read weights"):
        store = _store(weights)
        method = Method.choose(load_recipe(recipe) if isinstance(recipe, str) else recipe, store, mirrored).for_case(
            case
        )
    run = CaseRun(case, [method], device, progress, log)
    if opened is not None:
        method = opened(run, method)
    # Probabilities are asked of every member; masks only of those that can change them.
    run.infer(method.members, None if with_probabilities else method)
    found = run.apply(method)
    masks = run.on_pets(found)
    return Segmentation(
        masks,
        run.report(method, found),
        run.probabilities(method) if with_probabilities else {},
        found.foci,
    )


def _store(weights: WeightsStore | Path | str | None) -> WeightsStore:
    if isinstance(weights, WeightsStore):
        return weights
    return WeightsStore.default(None if weights is None else Path(weights))
