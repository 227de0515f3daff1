"""One job from folder to folder: what the command line and the container share."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deeppsma.core.defaults import DEFAULT_RECIPE, PROBABILITY_SUFFIXES
from deeppsma.core.errors import ConfigurationError
from deeppsma.core.stopwatch import Stopwatch
from deeppsma.core.tracer import Tracer
from deeppsma.io.case import Case
from deeppsma.io.result_folder import (
    output_folder,
    probability_name,
    write_beside,
    write_result,
    write_table,
)
from deeppsma.models.store import WeightsStore
from deeppsma.models.weights import NOTICE
from deeppsma.operation.answers import Steps
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
    foci
        Name of a table of foci to write beside the masks, ending in .csv, or
        empty; they come into the run report, too.
    dicom
        What the user says of a folder of DICOM files, or None.
    mirrored
        Whether models of nnU-Net are averaged over mirrored images, too; None
        for what the recipe, or else each model, says.
    """

    case: Path
    out: Path
    recipe: str = DEFAULT_RECIPE
    device: str = "auto"
    weights: Path | None = None
    picture: bool = False
    probabilities: str = ""
    foci: str = ""
    dicom: DicomOptions | None = None
    mirrored: bool | None = None

    def __post_init__(self) -> None:
        if self.probabilities not in ("", *PROBABILITY_SUFFIXES):
            raise ValueError(f"probabilities are written as {' or '.join(PROBABILITY_SUFFIXES)}")
        if self.foci and (Path(self.foci).name != self.foci or not self.foci.endswith(".csv")):
            raise ValueError(f"foci are written beside the masks: give a name that ends in .csv, not {self.foci!r}")


#: Writes more files into the staging folder: given that, the opened case, and what was found.
Beside = Callable[[Path, Case, Segmentation], None]


def run_job(
    job: Job, show_progress: bool = False, steps: Steps | None = None, beside: Beside | None = None
) -> tuple[list[Path], RunReport]:
    """Segment a case and write the result; returns the files written, and the run report.

    Parameters
    ----------
    job
        What is asked for.
    show_progress
        On stderr, while networks run.
    steps
        Publishes early answers beside; None: there is but one answer.
    beside
        Writes files that are published with the result.

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
        if job.foci and not recipe.looks_at_foci:
            found = f"recipe {recipe.name} looks at no foci"
            raise ConfigurationError("--foci", found, "leave it out, or choose gtrc or second_opinion")
        progress = _bar if show_progress else None
        with_probabilities = bool(job.probabilities)
        result = segment(case, recipe, store, job.device, progress, watch, with_probabilities, steps, job.mirrored)
        picture = _picture(job.case, case, result) if job.picture else None
        for tracer, volume in result.probabilities.items():
            write_beside(volume, staging / probability_name(tracer, job.probabilities))
        report = result.report if steps is None else replace(result.report, deadline=steps.plan)
        if job.foci:
            report = replace(report, foci=result.foci)
            write_table(_rows(result.foci), staging / job.foci)
        if beside is not None:
            beside(staging, case, result)
        return write_result(staging, job.out, result.masks, report.as_dict(), picture), report


def job_of_container(environment: Mapping[str, str] = os.environ) -> Job:
    """The job of the platform's folders, or of those that the environment names; weights in the model's come first.

    Raises
    ------
    ConfigurationError
        If a variable makes no sense.
    """
    model = Path(environment.get("DEEPPSMA_MODEL") or "/opt/ml/model")
    holds_model = model.is_dir() and any(model.iterdir())
    if environment.get("DEEPPSMA_MODEL"):
        holds_model = True  # asked for by name: it must be there
    return Job(
        case=Path(environment.get("DEEPPSMA_INPUT") or "/input"),
        out=Path(environment.get("DEEPPSMA_OUTPUT") or "/output"),
        recipe=environment.get("DEEPPSMA_RECIPE") or DEFAULT_RECIPE,
        device=environment.get("DEEPPSMA_DEVICE") or "auto",
        weights=model if holds_model else None,
        mirrored=_yes_or_no("DEEPPSMA_MIRROR", environment.get("DEEPPSMA_MIRROR", "")),
    )


def _yes_or_no(name: str, value: str) -> bool | None:
    if not value:
        return None
    known = {"1": True, "0": False, "on": True, "off": False, "yes": True, "no": False, "true": True, "false": False}
    if value.lower() not in known:
        raise ConfigurationError(name, f"{value!r}", "give 1 or 0, or leave it out")
    return known[value.lower()]


def _rows(foci: Mapping[Tracer, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    return [{"tracer": tracer.value, **row} for tracer, rows in foci.items() for row in rows]


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
