"""Uptake against what the same organ typically takes up in the same scan.

A reader looks at the organ before he looks at the voxel: marrow that is active
throughout is no disease, nor is a bowel that is hot from end to end.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from deeppsma.core.anatomy import FAMILY_OF_LABEL, LABEL_MAX
from deeppsma.models.channel_kinds import CONTRAST_LIMIT


def organ_contrast(suv: NDArray, labels: NDArray, threshold_suv: float) -> NDArray[np.float32]:
    """Logarithm of uptake over the median of the organs of its kind.

    Parameters
    ----------
    suv
        [z, y, x] float32 PET, or a crop of it: the median is that of the
        organs in it. Where it is 0 nothing was measured.
    labels
        [z, y, x] TotalSegmentator labels on the same grid.
    threshold_suv
        Stands for the organ where there is none (label 0, or no organ map at
        all): the contrast is then the logarithm of uptake over threshold.

    Returns
    -------
    ndarray
        [z, y, x], from -`CONTRAST_LIMIT` to `CONTRAST_LIMIT`.

    Notes
    -----
    Organs of a kind count together (`deeppsma.core.anatomy.FAMILIES`: vertebrae,
    ribs, both hips): one that disease fills does not make it normal.
    """
    families = FAMILY_OF_LABEL[labels]
    typical = np.full(LABEL_MAX + 1, threshold_suv, dtype=np.float32)
    inside = (labels > 0) & (suv > 0)
    found = np.unique(families[inside])
    if found.size:
        typical[found] = ndimage.median(suv[inside], families[inside], found)
    smallest = np.float32(np.exp(-CONTRAST_LIMIT)) * typical
    contrast = np.log(np.maximum(suv, smallest[families]) / typical[families])
    return np.asarray(np.minimum(contrast, np.float32(CONTRAST_LIMIT)), dtype=np.float32)
