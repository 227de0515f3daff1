"""How a PET's SUV came about and what it was held against, in numbers, for the run report.

Holds no date, no time of day and no name: times are minutes after the injection.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LiverRecord:
    """SUV in the core of the liver, held against what is usual.

    Parameters
    ----------
    median_suv, mean_suv, sd_suv
        Over the core, without what is no liver.
    core_ml
        What they are of.
    usual_suv
        Between which a mean lies as a rule: wide, to find wrong units and times.
    plausible
        Whether this one does.
    """

    median_suv: float
    mean_suv: float
    sd_suv: float
    core_ml: float
    usual_suv: tuple[float, float]
    plausible: bool


@dataclass(frozen=True)
class SuvRecord:
    """SUV (body weight) of one PET series.

    Parameters
    ----------
    units
        Of the rescaled values, as Units (0054,1001) has them.
    rule
        Formula, in words.
    factor_min, factor_max
        Over the slices: what the rescaled value was multiplied with.
    decay_correction
        START, ADMIN, NONE, or "" where it does not matter.
    reference, injection
        Which rule gave the time that the decay correction refers to, which tag the time of injection; "" where none
        is needed.
    uptake_min
        Minutes from the injection to that time (NONE: to the first acquisition); None where none is needed.
    dose_mbq, weight_kg, half_life_s, nuclide
        What went into the formula; None and "" where nothing did.
    tags
        That had a value and were read for it, as ``PatientWeight (0010,1030)``; private ones by group and element.
    dose_share
        Sum of SUV times volume over body weight: the share of the injected activity that the image shows. None where
        the weight is not known.
    liver
        None where it was not checked.
    liver_unchecked
        Why not; "" where it was.
    checks
        What else was held against it.
    warnings
        What was not as it should be.
    """

    units: str
    rule: str
    factor_min: float
    factor_max: float
    decay_correction: str = ""
    reference: str = ""
    injection: str = ""
    uptake_min: float | None = None
    dose_mbq: float | None = None
    weight_kg: float | None = None
    half_life_s: float | None = None
    nuclide: str = ""
    tags: tuple[str, ...] = ()
    dose_share: float | None = None
    liver: LiverRecord | None = None
    liver_unchecked: str = ""
    checks: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.factor_min <= self.factor_max:
            raise ValueError(f"SUV factors from {self.factor_min} to {self.factor_max}")
        if (self.liver is None) != bool(self.liver_unchecked):
            raise ValueError("a liver is checked, or something says why not")
