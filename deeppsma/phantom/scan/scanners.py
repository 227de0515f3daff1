"""PET and CT of the scanners that the challenge's data came from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Scanner:
    """What a scanner makes of the patient.

    Parameters
    ----------
    name
        Short name, used in patient cards.
    spacing_zyx, plane_size
        PET voxel, mm, and voxels along y and x.
    ct_spacing_zyx
        CT voxel, mm; CT slices are 512 x 512.
    fwhm_mm
        Resolution of the reconstructed PET.
    noise_cov
        Coefficient of variation in the liver, 18F-FDG.
    frequency
        Share of this scanner's grid in the real data set, by count of PSMA scans.
    bed_mm, overlap
        Length of a bed position and the share of it that neighbours measure as well.
    overshoot
        Strength of the edge overshoot that resolution modelling leaves; 0 without.
    """

    name: str
    spacing_zyx: tuple[float, float, float]
    plane_size: int
    ct_spacing_zyx: tuple[float, float, float]
    fwhm_mm: float
    noise_cov: float
    frequency: int
    bed_mm: float = 153.7
    overlap: float = 0.23
    overshoot: float = 0.0


SCANNERS = (
    Scanner("ge-3.27-192", (3.27, 2.865, 2.865), 192, (3.27, 1.367, 1.367), 6.3, 0.087, 39),
    Scanner("siemens-3-200", (3.0, 4.073, 4.073), 200, (3.0, 0.977, 0.977), 5.8, 0.087, 10, 221, 0.43, 0.15),
    Scanner("siemens-5-168", (5.0, 4.073, 4.073), 168, (5.0, 1.367, 1.367), 6.8, 0.091, 8, 162, 0.30),
    Scanner("siemens-2.5-200", (2.5, 4.073, 4.073), 200, (2.5, 0.977, 0.977), 5.8, 0.091, 7, 221, 0.43, 0.15),
    Scanner("siemens-2-200", (2.0, 4.073, 4.073), 200, (2.0, 0.977, 0.977), 5.6, 0.095, 7, 221, 0.43, 0.15),
    Scanner("biograph-4-168", (4.0, 4.0, 4.0), 168, (4.0, 1.367, 1.367), 6.8, 0.091, 6, 162, 0.30),
    Scanner("siemens-4-200", (4.0, 4.073, 4.073), 200, (4.0, 0.977, 0.977), 7.0, 0.087, 6, 221, 0.43, 0.15),
    Scanner("ge-3.27-192-wide", (3.27, 3.646, 3.646), 192, (3.27, 1.367, 1.367), 6.6, 0.087, 4),
    Scanner("ge-2.79-256", (2.79, 2.734, 2.734), 256, (2.79, 1.367, 1.367), 6.0, 0.091, 4),
    Scanner("vision-1.5-180", (1.5, 4.114, 4.114), 180, (1.5, 1.523, 1.523), 4.9, 0.068, 3, 263, 0.45, 0.20),
    Scanner("ge-3.27-128", (3.27, 5.469, 5.469), 128, (3.27, 1.367, 1.367), 7.2, 0.091, 2),
)


#: Digital scanners with 440 x 440 voxels of 1.65 mm: an eighth of the PSMA scans of the larger real statistics.
FINE_SCANNERS = (
    Scanner("vision-2.5-440", (2.5, 1.65, 1.65), 440, (2.5, 1.523, 1.523), 4.9, 0.075, 55, 263, 0.45, 0.20),
    Scanner("vision-1.5-440", (1.5, 1.65, 1.65), 440, (1.5, 1.523, 1.523), 4.6, 0.085, 19, 263, 0.45, 0.20),
)
#: How often a grid occurs among 602 real PSMA scans; grids that are not listed there share what is left.
_FREQUENCIES_OF_602 = {
    "ge-3.27-192": 318,
    "siemens-3-200": 28,
    "siemens-5-168": 22,
    "siemens-2.5-200": 20,
    "siemens-2-200": 15,
    "biograph-4-168": 23,
    "siemens-4-200": 16,
    "ge-3.27-192-wide": 22,
    "ge-2.79-256": 11,
    "vision-1.5-180": 19,
    "ge-3.27-128": 6,
}


def scanners_of(version: int) -> tuple[Scanner, ...]:
    """Scanners of a version of the phantom, with frequencies of the real scans known then (100, now 602)."""
    if version == 2:
        return SCANNERS
    return (*(replace(each, frequency=_FREQUENCIES_OF_602[each.name]) for each in SCANNERS), *FINE_SCANNERS)


def draw_scanner(rng: np.random.Generator, version: int = 3) -> Scanner:
    """A scanner, as often as its grid occurs in the real scans; see `scanners_of`."""
    offered = scanners_of(version)
    weights = np.array([scanner.frequency for scanner in offered], dtype=float)
    return offered[int(rng.choice(len(offered), p=weights / weights.sum()))]


def field_of_view_mm(
    scanner: Scanner, thigh_mm: float, crown_mm: float, rng: np.random.Generator
) -> tuple[float, float]:
    """Bottom and top of a scan along z: whole beds from the thigh up, to the vertex or to the base of the skull."""
    step = scanner.bed_mm * (1 - scanner.overlap)
    wanted = crown_mm - thigh_mm - (0.0 if rng.random() < 0.6 else float(rng.uniform(70, 150)))
    beds = max(1, int(np.ceil((wanted - scanner.bed_mm) / step)) + 1)
    covered = scanner.bed_mm + (beds - 1) * step
    # Of what whole beds measure beyond the wish, a quarter lies above the head.
    top = thigh_mm + wanted + 0.25 * (covered - wanted)
    return top - covered, top
