"""PET and CT grids of the scanners that the challenge's data came from."""

from __future__ import annotations

from dataclasses import dataclass

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
        Coefficient of variation in the liver, FDG; PSMA has 1.4 times as much.
    frequency
        Share of this scanner's grid in the real data set, by count of PSMA scans.
    """

    name: str
    spacing_zyx: tuple[float, float, float]
    plane_size: int
    ct_spacing_zyx: tuple[float, float, float]
    fwhm_mm: float
    noise_cov: float
    frequency: int


SCANNERS = (
    Scanner("ge-3.27-192", (3.27, 2.865, 2.865), 192, (3.27, 1.367, 1.367), 6.2, 0.11, 39),
    Scanner("siemens-3-200", (3.0, 4.073, 4.073), 200, (3.0, 0.977, 0.977), 6.0, 0.11, 10),
    Scanner("siemens-5-168", (5.0, 4.073, 4.073), 168, (5.0, 1.367, 1.367), 6.6, 0.12, 8),
    Scanner("siemens-2.5-200", (2.5, 4.073, 4.073), 200, (2.5, 0.977, 0.977), 5.8, 0.12, 7),
    Scanner("siemens-2-200", (2.0, 4.073, 4.073), 200, (2.0, 0.977, 0.977), 5.6, 0.13, 7),
    Scanner("biograph-4-168", (4.0, 4.0, 4.0), 168, (4.0, 1.367, 1.367), 6.6, 0.11, 6),
    Scanner("ge-3.27-192-wide", (3.27, 3.646, 3.646), 192, (3.27, 1.367, 1.367), 6.3, 0.11, 4),
    Scanner("ge-2.79-256", (2.79, 2.734, 2.734), 256, (2.79, 1.367, 1.367), 6.0, 0.12, 4),
    Scanner("vision-1.5-180", (1.5, 4.114, 4.114), 180, (1.5, 1.523, 1.523), 4.9, 0.10, 3),
)


def draw_scanner(rng: np.random.Generator) -> Scanner:
    """A scanner, as often as its grid occurs in the real data set."""
    weights = np.array([scanner.frequency for scanner in SCANNERS], dtype=float)
    return SCANNERS[int(rng.choice(len(SCANNERS), p=weights / weights.sum()))]
