"""Noise of a reconstructed PET: texture, bed positions, body thickness.

Calibrated on a real whole-body FDG scan (TCIA Soft-Tissue-Sarcoma STS_001, GE
Discovery ST, OSEM): the standard deviation rises with activity to the power
0.72; neighbouring voxels correlate as if white noise had been blurred by 1.1
times the resolution in plane and 0.8 times along the axis; the noise repeats
with the bed, 1.35 times as strong where beds meet; and slices of the pelvis
are 1.4 times as noisy as those of the head.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.box import Box
from deeppsma.core.geometry import Geometry
from deeppsma.phantom.scan.scanners import Scanner

#: sd ~ activity ** _POWER
_POWER = 0.72
_IN_PLANE, _AXIAL = 1.1, 0.8
#: Noise ~ (equivalent diameter of the slice) ** _THICKNESS, about 1 at the liver.
_THICKNESS, _LIVER_DIAMETER_MM = 0.6, 290.0
_MOST = 0.8
#: Outside the body's box nothing is measured but this.
_AIR_SUV = 0.08
FWHM_PER_SIGMA = 2.3548


def noisy(
    suv: NDArray[np.float32],
    grid: Geometry,
    scanner: Scanner,
    liver_cov: float,
    liver_suv: float,
    fwhm_mm: float,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """The image with noise, [z, y, x] SUV; never negative.

    Parameters
    ----------
    suv
        Without noise.
    grid, scanner
        Where it was measured.
    liver_cov, liver_suv
        Coefficient of variation at the liver's activity, mid-bed.
    fwhm_mm
        Resolution, for the texture.
    """
    box = Box.around_mask(suv > _AIR_SUV)
    if box is None:
        return suv
    inside = suv[box.slices]
    along_axis = (bed_profile(grid, scanner) * _thickness_profile(suv, grid))[box.slices[0], None, None]
    relative = np.maximum(inside, np.float32(1e-3)) / np.float32(max(liver_suv, 0.1))
    spread = np.float32(liver_cov) * along_axis.astype(np.float32) * relative ** np.float32(_POWER - 1)
    np.minimum(spread, np.float32(_MOST), out=spread)
    # Log-normal: iterative reconstruction keeps activity positive and its noise skewed.
    exponent = spread * texture(Geometry(box.shape_zyx, grid.spacing_zyx), fwhm_mm, rng) - spread**2 / 2
    out = suv.copy()
    out[box.slices] *= np.exp(exponent, out=exponent)
    return out


def texture(grid: Geometry, fwhm_mm: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Normal noise of unit variance with the correlation of a reconstruction, [z, y, x]."""
    import SimpleITK as sitk

    white = sitk.GetImageFromArray(rng.standard_normal(grid.shape_zyx, dtype=np.float32))
    sz, sy, sx = grid.spacing_zyx
    white.SetSpacing((sx, sy, sz))
    plane, axial = (factor * fwhm_mm / FWHM_PER_SIGMA for factor in (_IN_PLANE, _AXIAL))
    out = sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(white, (plane, plane, axial)))
    out /= np.float32(max(float(out[::2, ::3, ::3].std()), 1e-6))
    return np.asarray(out)


def bed_profile(grid: Geometry, scanner: Scanner) -> NDArray[np.float64]:
    """Noise of each slice over mid-bed noise, [z]: beds overlap, and the ends are measured once."""
    z = (np.arange(grid.shape_zyx[0]) + 0.5) * grid.spacing_zyx[0]
    length, step = scanner.bed_mm, scanner.bed_mm * (1 - scanner.overlap)
    beds = max(1, round((z[-1] - length) / step) + 1)
    starts = np.linspace(0, max(z[-1] - length, 0), beds)
    # Sensitivity of a bed is a triangle; its foot is never zero, for single slices count too.
    sensitivity = sum(np.clip(1.08 - np.abs(z - (start + length / 2)) / (length / 2), 0.0, 1.0) for start in starts)
    return np.asarray(np.clip(1 / np.sqrt(np.maximum(sensitivity, 0.05)), 0.8, 1.8), dtype=float)


def _thickness_profile(suv: NDArray[np.float32], grid: Geometry) -> NDArray[np.float64]:
    area_mm2 = (suv > 0.12).sum(axis=(1, 2)) * grid.spacing_zyx[1] * grid.spacing_zyx[2]
    diameter = 2 * np.sqrt(area_mm2 / np.pi)
    return np.asarray(np.clip(diameter / _LIVER_DIAMETER_MM, 0.4, 1.5) ** _THICKNESS, dtype=float)
