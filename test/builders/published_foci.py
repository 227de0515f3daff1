"""Foci as GTRC-Net publishes them: scikit-image and scipy on whole volumes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def ball_footprint(spacing_zyx: tuple[float, float, float], radius_mm: float) -> NDArray[np.float32]:
    axes = [np.arange(-np.ceil(radius_mm / s), np.ceil(radius_mm / s) + 1) * s for s in spacing_zyx]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    return (np.sqrt(x**2 + y**2 + z**2) <= radius_mm).astype(np.float32)


def divide_published(ratio: NDArray, spacing_zyx: tuple[float, float, float], *, quirk: bool = True) -> NDArray:
    """Labels with gaps, as published; without the quirk no two foci share a number."""
    from scipy.ndimage import label
    from skimage.morphology import h_maxima
    from skimage.segmentation import watershed

    above = ratio >= 1
    numbered, count = label(h_maxima(ratio, 0.16666, ball_footprint(spacing_zyx, 8.0)))
    labels = watershed(-ratio, numbered, mask=above)
    missing, missing_count = label(above & (labels == 0))
    for i in range(missing_count):
        labels[missing == i + 1] = count + i + (0 if quirk else 1)
    return labels
