"""Connected components of masks: lesions as the field counts them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def components_of(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Lesions of a mask: voxels that share a face or an edge; numbered from 1, and how many there are."""
    from scipy.ndimage import generate_binary_structure, label

    components, count = label(mask, generate_binary_structure(3, 2))
    return components, int(count)
