"""One job from folder to folder: what the command line and the container share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deeppsma.core.defaults import DEFAULT_RECIPE, PROBABILITY_SUFFIXES
from deeppsma.core.stopwatch import Stopwatch
from deeppsma.io.case import Case
from deeppsma.io.result_folder import (
    output_folder,
    probability_name,
    write_beside,
    write_result,
)
from deeppsma.models.store import WeightsStore
from deeppsma.models.weights import NOTICE
from deeppsma.pipeline.recipe import load_recipe
from deeppsma.pipeline.run_report import RunReport
from deeppsma.pipeline.segment import Segmentation, segment
from deeppsma.preprocessing.dicom_case import DicomOptions, open_case


@dataclass(frozen=True)
class Job:
    """What to segment, how, and where the result goes.

    Parameters
    ----------
    case, out
        Folders.
    recipe
        Name of a recipe.
    device
        "auto", "cuda" or "cpu".
    weights
        Folder with members that come before the shipped ones, or None.
    picture
        Also write the projections.
    probabilities
        Also write the probability of disease at every voxel, beside the
        masks; ".nii.gz" or ".mha", or empty.
    dicom
        What the user says of a folder of DICOM files, or None.
    """

    case: Path
    out: Path
    recipe: str = DEFAULT_RECIPE
    device: str = "auto"
    weights: Path | None = None
    picture: bool = False
    probabilities: str = ""
    dicom: DicomOptions | None = None

    def __post_init__(self) -> None:
        if self.probabilities not in ("", *PROBABILITY_SUFFIXES):
            raise ValueError(f"probabilities are written as {' or '.join(PROBABILITY_SUFFIXES)}")


def run_job(job: Job, show_progress: bool = False) -> tuple[list[Path], RunReport]:
    """Segment a case and write the result; returns the files written, and the run report.

    Raises
    ------
    DeepPsmaError
        One line that names cause and remedy. ``job.out`` holds no result
        then.
    """
    watch = Stopwatch()
    with output_folder(job.out) as staging:
        with watch.stage("read headers"):
            case = open_case(job.case, job.dicom)
            recipe = load_recipe(job.recipe)
            store = WeightsStore.default(job.weights)
        progress = _bar if show_progress else None
        result = segment(case, recipe, store, job.device, progress, watch, bool(job.probabilities))
        picture = _picture(job.case, case, result) if job.picture else None
        for tracer, volume in result.probabilities.items():
            write_beside(volume, staging / probability_name(tracer, job.probabilities))
        return write_result(staging, job.out, result.masks, result.report.as_dict(), picture), result.report


def _bar(total: int) -> Callable[[], None]:
    from tqdm import tqdm

    bar = tqdm(total=total, desc="network", unit="window", leave=False)

    def advance() -> None:
        bar.update()
        if bar.n >= total:
            bar.close()

    return advance


def _picture(folder: Path, case: Case, result: Segmentation) -> bytes:
    from deeppsma.reporting.pictures import kind_of_patient, overview

    return overview(
        {tracer: case.study(tracer).read_pet() for tracer in case.tracers},
        result.masks,
        case.thresholds,
        note=f"{kind_of_patient(folder)}{case.name}, recipe {result.report.recipe['name']}. {NOTICE}",
    )
