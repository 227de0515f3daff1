"""Whether SUV can be right: the share of the injected activity that the image shows, and the liver.

Both find wrong units, doses, weights and times that no tag gives away.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deeppsma.core.errors import InputError
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.io.dicom.injection import weight_kg
from deeppsma.io.dicom.series import DicomSeries
from deeppsma.io.dicom.suv import SuvDerivation
from deeppsma.io.suv_record import LiverRecord, SuvRecord
from deeppsma.preprocessing.liver_threshold import LiverUptake, liver_uptake

#: Of the activity injected, a whole body's PET shows this share; far outside it a unit is wrong.
DOSE_SHARE_LIMITS = (0.2, 1.1)
#: Why a liver was not checked.
NO_ORGAN_MAP, NO_LIVER, NO_PART = (
    "there is no organ map",
    "the organ map shows no liver in the PET, or too little of it",
    "the series has no part",
)


@dataclass(frozen=True)
class SuvCheck:
    """Figures of a PET in SUV.

    Parameters
    ----------
    tracer
        None where it is not known.
    low, median, high
        Minimum and median over voxels above 0, maximum; 0 where no voxel is above 0.
    dose_share
        See `deeppsma.io.suv_record.SuvRecord`.
    liver
        None where it was not checked.
    unchecked
        Why not; "" where it was.
    """

    tracer: Tracer | None
    low: float
    median: float
    high: float
    dose_share: float | None
    liver: LiverUptake | None
    unchecked: str

    def lines(self) -> tuple[str, ...]:
        """One line on the whole, one on the liver, with what is odd about them."""
        whole = f"SUV above 0: {self.low:.3g} to {self.high:.4g}, median {self.median:.3g}"
        if self.dose_share is not None:
            low, high = DOSE_SHARE_LIMITS
            usual = low <= self.dose_share <= high
            odd = "" if usual else f" (a whole body has {low:g} to {high:g}: check the units)"
            whole += f"; {self.dose_share:.2f} of the activity seen{odd}"
        if self.liver is None:
            return whole, f"liver not checked, because {self.unchecked}"
        return whole, self.liver.describe(self.tracer)

    def as_dict(self) -> dict[str, object]:
        """The checks as JSON values."""
        from dataclasses import asdict

        liver = self._liver()
        return {
            "dose_share": _rounded(self.dose_share, 3),
            "liver": None if liver is None else asdict(liver),
            "liver_unchecked": self.unchecked,
        }

    def record(self, suv: SuvDerivation) -> SuvRecord:
        """For the run report: how SUV came about, and these checks."""
        return SuvRecord(
            suv.units,
            suv.rule,
            min(suv.factors),
            max(suv.factors),
            suv.decay_correction,
            suv.reference,
            suv.injection,
            _rounded(suv.uptake_min, 2),
            _rounded(suv.dose_mbq, 3),
            _rounded(suv.weight_kg, 2),
            _rounded(suv.half_life_s, 1),
            suv.nuclide,
            suv.tags,
            _rounded(self.dose_share, 3),
            self._liver(),
            self.unchecked,
            suv.checks,
            suv.warnings,
        )

    def _liver(self) -> LiverRecord | None:
        if self.liver is None:
            return None
        found = self.liver
        return LiverRecord(
            round(found.median_suv, 3),
            round(found.mean_suv, 3),
            round(found.sd_suv, 3),
            round(found.core_ml, 1),
            found.usual(self.tracer),
            found.plausible(self.tracer),
        )


def check_suv(
    pet: Volume, weight: float | None, organs: Volume | None, tracer: Tracer | None, unchecked: str = NO_ORGAN_MAP
) -> SuvCheck:
    """Figures of a PET in SUV.

    Parameters
    ----------
    pet
        [z, y, x], SUV.
    weight
        kg; None where it is not known.
    organs
        TotalSegmentator label map of the same session, on a grid of its own; None where there is none.
    tracer
        What is usual in a liver depends on it; None where it is not known.
    unchecked
        Why there is no organ map.
    """
    values = pet.voxels
    above = values[values > 0]
    low, median, high = (float(above.min()), float(np.median(above)), float(above.max())) if above.size else (0.0,) * 3
    share = None
    if weight:
        share = float(values.sum(dtype=np.float64)) * pet.geometry.voxel_volume_ml / (weight * 1000)
    liver = None if organs is None else liver_uptake(pet, organs)
    why_not = "" if liver is not None else unchecked if organs is None else NO_LIVER
    return SuvCheck(tracer, low, median, high, share, liver, why_not)


def known_weight_kg(series: DicomSeries) -> float | None:
    """The weight that SUV was computed with, or that the header has beside SUV; None where it has none that can be."""
    if series.suv is not None and series.suv.weight_kg is not None:
        return series.suv.weight_kg
    try:
        return weight_kg(series.stack.headers)[0]
    except InputError:
        return None


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
