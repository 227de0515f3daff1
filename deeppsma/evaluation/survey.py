"""Measures of a cohort that published series report: for synthetic patients and for the real data set alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeppsma.core import anatomy as organs
from deeppsma.core.errors import InputError
from deeppsma.core.resampling import resample
from deeppsma.core.settings import read_json
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.evaluation.baseline import trivial_answer
from deeppsma.evaluation.metrics import dice
from deeppsma.io.case import Study
from deeppsma.io.cohort import cohort_folders, load_labelled
from deeppsma.phantom.session import PHANTOM_VERSIONS
from deeppsma.phantom.write_cohort import CARD_NAME, prepare_worker

#: Bins of PET over threshold: fine enough that a percentile is right to 0.2 %.
RATIO_EDGES = np.geomspace(1, 2000, 4001)
#: Bins of CT numbers: whole HU.
HU_EDGES = np.arange(-1024.5, 3072.5)
_CLEAR_OF_EDGES_MM = 15.0
#: What scanners write where they saw nothing.
_UNSEEN_HU = -1024


@dataclass(frozen=True)
class StudyFigures:
    """What is measured on one tracer's study.

    Parameters
    ----------
    ratios, hounsfield
        Histograms of PET over threshold, and of CT, over the voxels at or
        above the threshold; each sums to 1, or is empty where there is none.
    highest_ratio
        Maximum of PET over threshold.
    spacing_zyx
        PET voxel, mm.
    disease_ml, disease_suv_mean, disease_suv_max
        Of the truth mask; 0 where it is empty.
    liver_cov
        Coefficient of variation in the liver, clear of its edges and of
        disease; NaN without a liver.
    trivial_dsc
        DSC of `deeppsma.evaluation.baseline.trivial_answer`.
    has_organs
        Whether there is an organ map.
    """

    ratios: NDArray[np.float64]
    hounsfield: NDArray[np.float64]
    highest_ratio: float
    spacing_zyx: tuple[float, float, float]
    disease_ml: float
    disease_suv_mean: float
    disease_suv_max: float
    liver_cov: float
    trivial_dsc: float
    has_organs: bool


@dataclass(frozen=True)
class CaseFigures:
    """One case: figures of both studies, and the patient's card where there is one."""

    name: str
    studies: dict[Tracer, StudyFigures]
    card: dict[str, Any] = field(default_factory=dict)


def survey(cohort: Path, jobs: int = 1) -> Iterator[CaseFigures]:
    """Measure the cases of a cohort, one after the other.

    Parameters
    ----------
    cohort
        Folder of ``train_XXXX`` cases or of platform cases with truth.
    jobs
        Processes.

    Raises
    ------
    InputError
        If a case is unusable.
    """
    folders = cohort_folders(cohort)
    if jobs == 1 or len(folders) == 1:
        yield from map(measured, folders)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=prepare_worker) as pool:
        yield from pool.map(measured, folders)


def measured(folder: Path) -> CaseFigures:
    """Measure one case."""
    labelled = load_labelled(folder)
    studies = {t: _study_figures(labelled.case.study(t), labelled.truths[t].read()) for t in Tracer}
    card = folder / CARD_NAME
    return CaseFigures(folder.name, studies, _read_card(card) if card.exists() else {})


def _read_card(path: Path) -> dict[str, Any]:
    remedy = "remove the card, or make the patient again"
    card = read_json(path, remedy)
    if not isinstance(card, dict) or card.get("made_with", {}).get("phantom") not in PHANTOM_VERSIONS:
        raise InputError(path, f"no card of a patient of these versions {PHANTOM_VERSIONS}", remedy)
    return card


def _study_figures(study: Study, truth_mask: Volume) -> StudyFigures:
    pet, labels = study.read_pet(), study.read_organs()
    truth = truth_mask.voxels > 0
    hot = pet.voxels >= np.float32(study.threshold_suv)
    ratios = pet.voxels[hot] / study.threshold_suv
    hounsfield = np.zeros(0)
    if study.ct is not None:
        ct = study.ct.read()
        if ct.geometry.same_grid(pet.geometry):
            hounsfield = ct.voxels[hot]
        else:
            # A CT may see less than the PET: what lies outside it has no density.
            there = Volume(np.ones(ct.geometry.shape_zyx, dtype=np.uint8), ct.geometry)
            hounsfield = resample(ct, pet.geometry)[hot & (resample(there, pet.geometry, labels=True) > 0)]
        hounsfield = hounsfield[hounsfield > _UNSEEN_HU]
    diseased = pet.voxels[truth]
    return StudyFigures(
        _shares(ratios, RATIO_EDGES),
        _shares(hounsfield, HU_EDGES),
        float(ratios.max()) if ratios.size else 0.0,
        pet.geometry.spacing_zyx,
        float(diseased.size) * pet.geometry.voxel_volume_ml,
        float(diseased.mean()) if diseased.size else 0.0,
        float(diseased.max()) if diseased.size else 0.0,
        _liver_cov(pet, labels, truth),
        dice(trivial_answer(pet, study.threshold_suv, labels), truth),
        labels is not None,
    )


def _shares(values: NDArray, edges: NDArray[np.float64]) -> NDArray[np.float64]:
    counts = np.histogram(np.clip(values, edges[0], edges[-1]), bins=edges)[0].astype(float)
    return counts / max(counts.sum(), 1)


def _liver_cov(pet: Volume, labels: Volume | None, truth: NDArray[np.bool_]) -> float:
    from scipy.ndimage import distance_transform_edt

    from deeppsma.core.box import Box

    if labels is None:
        return float("nan")
    liver = resample(labels, pet.geometry, labels=True) == organs.LIVER
    liver &= ~truth
    box = Box.around_mask(liver)
    if box is None:
        return float("nan")
    deep = distance_transform_edt(np.pad(liver[box.slices], 1), sampling=pet.geometry.spacing_zyx)[1:-1, 1:-1, 1:-1]
    values = pet.voxels[box.slices][deep > min(_CLEAR_OF_EDGES_MM, 0.6 * float(deep.max()))]
    return float(values.std() / values.mean()) if values.size > 20 else float("nan")


def pooled(histograms: Sequence[NDArray[np.float64]], edges: NDArray[np.float64]) -> dict[str, float]:
    """Statistics of histograms pooled with equal weight; empty if all of them are.

    Returns
    -------
    dict
        mean, sd, median, p0_5, p99_5 in the edges' unit.
    """
    filled = [h for h in histograms if h.sum() > 0]
    if not filled:
        return {}
    weights = np.mean(filled, axis=0)
    centres = (edges[:-1] + edges[1:]) / 2
    mean = float((weights * centres).sum())
    reached = np.cumsum(weights)
    shares = {"p0_5": 0.005, "median": 0.5, "p99_5": 0.995}
    at = {name: float(centres[int(np.searchsorted(reached, share))]) for name, share in shares.items()}
    return {"mean": mean, "sd": float(np.sqrt((weights * (centres - mean) ** 2).sum())), **at}
