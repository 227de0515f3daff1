"""What one man's body is like: size, organs, age's changes, what surgeons left."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

#: The man that the anatomy modules draw is this tall; others are scaled from him.
STANDARD_HEIGHT_MM = 1750.0
_LIKELY_TO_COLLAPSE = ("T8", "T11", "T12", "L1", "L2", "L4")
_LIKELY_TO_DEGENERATE = ("C5", "C6", "T9", "T11", "L2", "L3", "L4", "L5")


@dataclass(frozen=True)
class Physique:
    """A man's body, the same at both scans.

    Sizes follow ICRP 89 with their reported spread, height and body mass index
    series of men with prostate cancer; shares of conditions are estimates.

    Parameters
    ----------
    age_years, height_mm, bmi
        Age; height; body mass index, kg/m^2.
    breadth, depth
        Skeleton and trunk over the standard man's, left to right and front to back.
    fat_mm, belly_mm
        Thickness of subcutaneous fat; how far the belly bulges beyond the standard.
    scoliosis_mm
        Sideways bend of the spine, signed.
    liver_ml, spleen_ml, kidney_ml, heart_ml
        Organ volumes; one kidney's.
    prostate_ml
        0 after prostatectomy.
    missing_kidney, hip_prosthesis
        "left", "right" or "" for none.
    kidney_cysts
        Number of simple cysts.
    collapsed, degenerated
        Names of vertebrae with an old compression fracture; with osteophytes.
    """

    age_years: float
    height_mm: float
    bmi: float
    breadth: float
    depth: float
    fat_mm: float
    belly_mm: float
    scoliosis_mm: float
    liver_ml: float
    spleen_ml: float
    kidney_ml: float
    heart_ml: float
    prostate_ml: float
    missing_kidney: str
    hip_prosthesis: str
    kidney_cysts: int
    collapsed: tuple[str, ...]
    degenerated: tuple[str, ...]

    def __post_init__(self) -> None:
        for word in (self.missing_kidney, self.hip_prosthesis):
            if word not in ("", "left", "right"):
                raise ValueError(f"a side is left, right or empty, not {word!r}")
        if min(self.height_mm, self.bmi, self.breadth, self.depth, self.liver_ml, self.kidney_ml) <= 0:
            raise ValueError("sizes must be above 0")

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Physique:
        """One man."""
        age = float(np.clip(rng.normal(71, 8), 48, 90))
        bmi = float(np.clip(rng.lognormal(math.log(27.8), 0.15), 18.5, 44))
        stout = bmi / 27
        kidney = float(np.clip(rng.normal(155, 28), 85, 240))
        missing = _side(rng, 0.03)
        frail = 0.012 * max(age - 60, 0)
        return cls(
            age_years=round(age, 1),
            height_mm=float(np.clip(rng.normal(1750, 70), 1550, 1950)),
            bmi=bmi,
            breadth=float(np.clip(rng.normal(1, 0.045), 0.88, 1.12)) * stout**0.12,
            depth=float(np.clip(rng.normal(1, 0.05), 0.88, 1.12)) * stout**0.2,
            fat_mm=float(np.clip(15 * stout**2.2 * rng.lognormal(0, 0.2), 4, 55)),
            belly_mm=float(np.clip(90 * (stout - 0.95) + rng.normal(0, 8), -18, 55)),
            scoliosis_mm=float(np.clip(rng.normal(0, 5), -16, 16)),
            liver_ml=float(np.clip(rng.normal(1550, 280), 900, 2400)),
            spleen_ml=float(np.clip(rng.lognormal(math.log(190), 0.35), 70, 500)),
            kidney_ml=kidney * (1.45 if missing else 1.0),
            heart_ml=float(np.clip(rng.normal(640, 110), 400, 950)),
            prostate_ml=0.0 if rng.random() < 0.35 else float(rng.uniform(18, 60)),
            missing_kidney=missing,
            hip_prosthesis=_side(rng, 0.08),
            kidney_cysts=int(rng.poisson(0.5)),
            collapsed=_some(rng, _LIKELY_TO_COLLAPSE, 0.02 + 0.1 * frail),
            degenerated=_some(rng, _LIKELY_TO_DEGENERATE, min(0.1 + frail, 0.6)),
        )

    @property
    def weight_kg(self) -> float:
        """Body weight."""
        return self.bmi * (self.height_mm / 1000) ** 2

    @property
    def scale_xyz(self) -> tuple[float, float, float]:
        """The man over the standard man, along x, y, z."""
        return self.breadth, self.depth, self.height_mm / STANDARD_HEIGHT_MM

    def has_kidney(self, side: str) -> bool:
        """Whether the kidney of a side ("left", "right") is there."""
        return side != self.missing_kidney


def _side(rng: np.random.Generator, share: float) -> str:
    side = str(rng.choice(["left", "right"]))
    return side if rng.random() < share else ""


def _some(rng: np.random.Generator, names: tuple[str, ...], share: float) -> tuple[str, ...]:
    return tuple(name for name, drawn in zip(names, rng.random(len(names)), strict=True) if drawn < share)
