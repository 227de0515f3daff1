"""Totals of a result: by tracer, by region, and how they depend on the threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deeppsma.core.tracer import Tracer
from deeppsma.postprocessing.rethresholded import rethresholded_ml
from deeppsma.reporting.anatomy_sites import REGIONS
from deeppsma.reporting.case_result import CaseResult, TracerResult
from deeppsma.reporting.lesion_table import FocusMap, Lesion, LesionTable
from deeppsma.reporting.reference_uptake import liver_suv


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
