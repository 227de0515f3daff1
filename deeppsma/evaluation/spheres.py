"""Recovery of hot spheres: the measurement by which scanners are compared (NEMA NU 2)."""

from __future__ import annotations

import numpy as np

from deeppsma.core.geometry import Geometry
from deeppsma.core.volume import Volume
from deeppsma.phantom.scan.imaging import point_spread, spread
from deeppsma.phantom.scan.scanners import Scanner
from deeppsma.phantom.uptake.radioligand import Radioligand

_FINE_MM = 1.0


def sphere_recovery(diameter_mm: float, scanner: Scanner, ligand: Radioligand) -> float:
    """Mean contrast inside a hot sphere over the true contrast, without noise.

    Parameters
    ----------
    diameter_mm
        Of the sphere, above 0.
    scanner, ligand
        Give the resolution.
    """
    import SimpleITK as sitk

    if diameter_mm <= 0:
        raise ValueError(f"a sphere has a diameter above 0 mm, not {diameter_mm}")
    half = int(np.ceil(diameter_mm / 2 + 3 * scanner.fwhm_mm))
    axis = np.arange(-half, half + 1) * _FINE_MM
    distance = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    # Voxels at the edge are filled in part.
    sphere = np.clip((diameter_mm / 2 - distance) / _FINE_MM + 0.5, 0, 1).astype(np.float32)
    image = Volume(sphere, Geometry(sphere.shape, (_FINE_MM,) * 3)).to_sitk()
    seen = sitk.GetArrayFromImage(spread(image, point_spread(scanner, ligand)))
    return float((seen * sphere).sum() / sphere.sum())
