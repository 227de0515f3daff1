"""Scores of whole cohorts: means with intervals, ranks of methods, tables.

The challenge ranks methods in twelve categories, six figures for each tracer,
and breaks ties by mean DSC.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.errors import InputError
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.evaluation.metrics import Scores, score
from deeppsma.io.cohort import LabelledCase, load_labelled
from deeppsma.io.image_files import ImageFile
from deeppsma.io.result_folder import finished_mask
from deeppsma.models.weights import NOTICE

#: The challenge's figures, and whether more is better; of signed errors the size counts.
FIGURES = {
    "dsc": True,
    "surface_dsc": True,
    "fpv_ml": False,
    "fnv_ml": False,
    "volume_error_percent": False,
    "suv_mean_error_percent": False,
}
_TITLES = ("DSC", "surface DSC", "FPV, ml", "FNV, ml", "volume error, %", "SUVmean error, %")
_BOOTSTRAPS = 2000

#: Scores of a method: by tracer, in the cases' order.
CohortScores = Mapping[Tracer, Sequence[Scores]]


@dataclass(frozen=True)
class Summary:
    """Mean of a figure over a cohort.

    Parameters
    ----------
    mean, low, high
        With the 95 % interval of a bootstrap over cases.
    median
        Of the cases.
    """

    mean: float
    low: float
    high: float
    median: float


@dataclass(frozen=True)
class Rank:
    """Place of a method among others: mean rank over the categories (1 is best), and mean DSC."""

    method: str
    mean_rank: float
    mean_dsc: float
    ranks: dict[str, float]


def score_result(result: Path, labelled: LabelledCase) -> dict[Tracer, Scores]:
    """Scores of one result folder against its case.

    Parameters
    ----------
    result
        OUT of ``deeppsma segment``.
    labelled
        The case with its truth.

    Raises
    ------
    InputError
        If a mask is missing, or not on its PET's grid.
    """
    files = {tracer: ImageFile(finished_mask(result, tracer)) for tracer in Tracer}
    for tracer, found in files.items():
        if not found.geometry.same_grid(labelled.truths[tracer].geometry):
            raise InputError(found.path, "not on the truth's grid", "give the result of this very case")
    return score_masks({tracer: found.read() for tracer, found in files.items()}, read_references(labelled))


@dataclass(frozen=True)
class Reference:
    """What a mask of one tracer is held against; arrays [z, y, x] on the PET's grid.

    Parameters
    ----------
    suv
        PET.
    truth
        bool.
    voxel_volume_ml
        Of the grid.
    """

    suv: NDArray[np.float32]
    truth: NDArray[np.bool_]
    voxel_volume_ml: float


def read_references(labelled: LabelledCase) -> dict[Tracer, Reference]:
    """PET and truth of both tracers."""
    out = {}
    for tracer in Tracer:
        pet, truth = labelled.case.study(tracer).read_pet(), labelled.truths[tracer].read()
        out[tracer] = Reference(pet.voxels, truth.voxels > 0, truth.geometry.voxel_volume_ml)
    return out


def score_masks(masks: Mapping[Tracer, Volume], references: Mapping[Tracer, Reference]) -> dict[Tracer, Scores]:
    """Scores of masks on their PETs' grids, 0/1."""
    return {
        tracer: score(masks[tracer].voxels > 0, of.truth, of.suv, of.voxel_volume_ml)
        for tracer, of in references.items()
    }


def score_results(results: Sequence[Path], folders: Sequence[Path], one_case: bool) -> dict[str, CohortScores]:
    """Scores of methods, by the names of their result folders.

    Parameters
    ----------
    results
        Per method: OUT of ``deeppsma segment``, or a folder of such folders
        with the cases' names.
    folders
        Cases with truth.
    one_case
        Whether the results are of the one case in ``folders``.
    """
    from tqdm import tqdm

    results = list(dict.fromkeys(results))  # the same one twice is one method
    methods: dict[str, dict[Tracer, list[Scores]]] = {str(result): {t: [] for t in Tracer} for result in results}
    for folder in tqdm(folders, desc="cases", disable=True if one_case else None):
        labelled = load_labelled(folder)
        for result in results:
            for tracer, scores in score_result(result if one_case else result / folder.name, labelled).items():
                methods[str(result)][tracer].append(scores)
    return dict(methods)


def case_lines(methods: Mapping[str, CohortScores]) -> str:
    """One line per method and tracer of a single case."""
    lines = []
    for name, by_tracer in methods.items():
        for tracer in Tracer:
            (s,) = by_tracer[tracer]
            lines.append(
                f"{name}: {tracer.upper()}: DSC {s.dsc:.3f}, surface DSC {s.surface_dsc:.3f}, "
                f"FPV {s.fpv_ml:.2f} ml, FNV {s.fnv_ml:.2f} ml, volume {s.volume_error_percent:+.1f} %, "
                f"SUVmean {s.suv_mean_error_percent:+.1f} %, lesions {s.lesions_found} of {s.lesions}, "
                f"{s.false_lesions} false"
            )
    return "\n".join(lines)


def agreement_picture(result: Path, labelled: LabelledCase) -> bytes:
    """Both tracers' projections with the result's agreement outlined; see `deeppsma.reporting.pictures.agreement`."""
    from deeppsma.reporting.pictures import agreement, kind_of_patient

    case = labelled.case
    return agreement(
        {tracer: case.study(tracer).read_pet() for tracer in Tracer},
        {tracer: ImageFile(finished_mask(result, tracer)).read() for tracer in Tracer},
        {tracer: labelled.truths[tracer].read() for tracer in Tracer},
        case.thresholds,
        f"{kind_of_patient(labelled.folder)}{case.name}: agreed green, missed cyan, false magenta. {NOTICE}",
    )


def summary(values: Sequence[float]) -> Summary:
    """Mean with its interval, and median; the same values give the same interval.

    Raises
    ------
    ValueError
        If there are no values.
    """
    if not len(values):
        raise ValueError("no cases to summarise")
    array = np.asarray(values, dtype=float)
    means = np.random.default_rng(0).choice(array, (_BOOTSTRAPS, len(array))).mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Summary(float(array.mean()), float(low), float(high), float(np.median(array)))


def rank(methods: Mapping[str, CohortScores]) -> list[Rank]:
    """Methods from best to worst, as the challenge ranks.

    Equal means share the mean of their ranks.
    """
    names = list(methods)
    ranks: dict[str, dict[str, float]] = {name: {} for name in names}
    for tracer in Tracer:
        for figure, more_is_better in FIGURES.items():
            means = np.array([np.mean(_values(methods[name][tracer], figure, size=True)) for name in names])
            worth = means if more_is_better else -means
            for name, own in zip(names, worth, strict=True):
                place = 1 + float((worth > own).sum()) + 0.5 * float((worth == own).sum() - 1)
                ranks[name][f"{tracer}.{figure}"] = place
    placed = [
        Rank(name, float(np.mean(list(ranks[name].values()))), _mean_dsc(methods[name]), ranks[name]) for name in names
    ]
    return sorted(placed, key=lambda each: (each.mean_rank, -each.mean_dsc))


def summary_table(methods: Mapping[str, CohortScores]) -> str:
    """Markdown: per method and tracer the six figures' means, DSC with its interval, and lesions found."""
    head = ["method", "tracer", f"{_TITLES[0]} mean (95 %)", "median", *_TITLES[1:], "lesions found", "false, per case"]
    lines = [f"| {' | '.join(head)} |", "| --- " * len(head) + "|"]
    for name, by_tracer in methods.items():
        for tracer in Tracer:
            scores = by_tracer[tracer]
            dsc = summary(_values(scores, "dsc"))
            cells = [name, tracer.upper(), f"{dsc.mean:.3f} ({dsc.low:.3f} to {dsc.high:.3f})", f"{dsc.median:.3f}"]
            for figure, digits in zip(list(FIGURES)[1:], (3, 1, 1, 1, 1), strict=True):
                cells.append(f"{np.mean(_values(scores, figure)):.{digits}f}")
            lesions, found = sum(s.lesions for s in scores), sum(s.lesions_found for s in scores)
            cells.append(f"{found} of {lesions}")
            cells.append(f"{np.mean([s.false_lesions for s in scores]):.1f}")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def rank_table(ranks: Sequence[Rank]) -> str:
    """Markdown: methods from best to worst."""
    lines = ["| method | mean rank | mean DSC |", "| --- | ---: | ---: |"]
    lines += [f"| {each.method} | {each.mean_rank:.2f} | {each.mean_dsc:.3f} |" for each in ranks]
    return "\n".join(lines)


def csv_table(methods: Mapping[str, CohortScores], cases: Sequence[str]) -> str:
    """CSV: one row per method, case and tracer, all scores."""
    out = io.StringIO()
    columns = [field.name for field in fields(Scores)]
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["method", "case", "tracer", *columns])
    for name, by_tracer in methods.items():
        for number, case in enumerate(cases):
            for tracer in Tracer:
                values = asdict(by_tracer[tracer][number])
                row = [f"{v:.6g}" if isinstance(v, float) else v for v in (values[column] for column in columns)]
                writer.writerow([name, case, tracer.value, *row])
    return out.getvalue()


def _values(scores: Sequence[Scores], figure: str, size: bool = False) -> list[float]:
    values = [float(getattr(each, figure)) for each in scores]
    return [abs(value) for value in values] if size else values


def _mean_dsc(by_tracer: CohortScores) -> float:
    return float(np.mean([each.dsc for tracer in Tracer for each in by_tracer[tracer]]))
