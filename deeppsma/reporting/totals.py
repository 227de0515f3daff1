"""Totals of a result: by tracer, by region, and how they depend on the threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deeppsma.core.anatomy import LIVER
from deeppsma.core.tracer import Tracer
from deeppsma.postprocessing.rethresholded import rethresholded_ml
from deeppsma.reporting.anatomy_sites import REGIONS
from deeppsma.reporting.case_result import CaseResult, TracerResult
from deeppsma.reporting.lesion_table import FocusMap, Lesion, LesionTable

#: Fixed thresholds at which the found disease is measured again, SUV; and the share of each lesion's SUVmax.
_LIVER_EROSION_MM, _LIVER_POINTS = 10.0, 50


@dataclass(frozen=True)
class Amount:
    """How much disease.

    Parameters
    ----------
    volume_ml
        Of all foci, small ones too.
    total_uptake_g
        Volume times SUVmean: TLG on FDG, PSMA-TL on PSMA.
    suv_max
        NaN without disease.
    foci, small_foci
        Foci of ordinary size, and those listed apart.
    """

    volume_ml: float
    total_uptake_g: float
    suv_max: float
    foci: int
    small_foci: int

    @property
    def suv_mean(self) -> float:
        """Mean over all voxels (weighted by volume); NaN without disease."""
        return self.total_uptake_g / self.volume_ml if self.volume_ml else float("nan")


@dataclass(frozen=True)
class Totals:
    """One tracer's totals.

    Parameters
    ----------
    whole
        All disease.
    by_region
        The same by region (`deeppsma.reporting.anatomy_sites.REGIONS`); regions without disease are not there.
    components
        Connected components of the mask.
    rethresholded_ml
        Volume of the found disease's voxels that reach other thresholds, by rule; see
        `deeppsma.postprocessing.rethresholded`.
    liver_suv
        Mean and standard deviation in the liver, or None.
    """

    whole: Amount
    by_region: Mapping[str, Amount]
    components: int
    rethresholded_ml: Mapping[str, float]
    liver_suv: tuple[float, float] | None


def totals(result: CaseResult, table: LesionTable) -> dict[Tracer, Totals]:
    """Totals of each tracer."""
    out = {}
    for tracer in result.tracers:
        lesions = table.of(tracer)
        regions = {}
        for region in REGIONS:
            mine = [lesion for lesion in lesions if lesion.naming.first.region == region]
            if mine:
                regions[region] = _amount(mine)
        scan = result.scans[tracer]
        liver = liver_suv(scan)
        rethresholded = _rethresholded(scan, table.maps[tracer], liver)
        out[tracer] = Totals(_amount(lesions), regions, table.components[tracer], rethresholded, liver)
    return out


def _amount(lesions: Sequence[Lesion]) -> Amount:
    return Amount(
        sum(lesion.volume_ml for lesion in lesions),
        sum(lesion.total_uptake_g for lesion in lesions),
        max((lesion.suv_max for lesion in lesions), default=float("nan")),
        sum(not lesion.small for lesion in lesions),
        sum(lesion.small for lesion in lesions),
    )


def _rethresholded(scan: TracerResult, foci: FocusMap, liver: tuple[float, float] | None) -> dict[str, float]:
    inside = foci.labels > 0
    threshold = None if liver is None else liver[0] + 2 * liver[1]
    voxel_ml = foci.geometry.voxel_volume_ml
    values, numbers = scan.pet.voxels[foci.box.slices][inside], foci.labels[inside]
    return rethresholded_ml(values, numbers, voxel_ml, scan.threshold_suv, threshold)


def liver_suv(scan: TracerResult) -> tuple[float, float] | None:
    """Mean and standard deviation of SUV in the liver, 10 mm within its label and without disease.

    None without an organ map or with too little of a liver.
    """
    from scipy.ndimage import binary_erosion

    if scan.organs is None:
        return None
    step_z, step_y, step_x = (max(1, round(4.0 / s)) for s in scan.organs.geometry.spacing_zyx)
    steps = (step_z, step_y, step_x)
    liver = scan.organs.voxels[::step_z, ::step_y, ::step_x] == LIVER
    spacing = [s * n for s, n in zip(scan.organs.geometry.spacing_zyx, steps, strict=True)]
    rounds = max(1, round(_LIVER_EROSION_MM / min(spacing)))
    index = np.argwhere(liver)
    if len(index) == 0:
        return None
    low, high = index.min(axis=0), index.max(axis=0) + 1
    crop = liver[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    inner = (np.argwhere(binary_erosion(crop, iterations=rounds)) + low) * np.array(steps)
    at = np.rint(scan.pet.geometry.world_to_index(scan.organs.geometry.index_to_world(inner))).astype(np.intp)
    at = at[((at >= 0) & (at < np.array(scan.pet.geometry.shape_zyx))).all(axis=1)]
    kept = tuple(at[scan.mask.voxels[tuple(at.T)] == 0].T)
    values = scan.pet.voxels[kept]
    if len(values) < _LIVER_POINTS:
        return None
    return float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
