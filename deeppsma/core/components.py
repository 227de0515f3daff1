"""Connected components of masks, voxels that share a face or an edge: lesions as the field counts them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def components_of(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Lesions of a mask: voxels that share a face or an edge; numbered from 1, and how many there are."""
    from scipy.ndimage import generate_binary_structure, label

    components, count = label(mask, generate_binary_structure(3, 2))
    return components, int(count)


#: Rows of voxels that touch a row, in z, y, and how far apart in x their voxels may be; each pair of rows once.
_ROWS = ((0, 1, 1), (1, 0, 1), (1, -1, 0), (1, 1, 0))


def sparse_components(flat: NDArray[np.integer], shape_zyx: tuple[int, int, int]) -> NDArray[np.int32]:
    """Connected components of a list of voxels, numbered from 0; costs no image.

    Parameters
    ----------
    flat
        (n,), indices in C order, ascending, each once.
    shape_zyx
        Of the grid.

    Returns
    -------
    ndarray
        (n,), each voxel's component, in the order of their first voxels.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(flat):
        return np.zeros(0, np.int32)
    _, y, x = shape_zyx
    row, column = np.divmod(np.asarray(flat, np.int64), x)
    # Rows and planes are padded by one, so that no step wraps into the next.
    wide = x + 2
    place = (row + row // y) * wide + column
    begins = np.flatnonzero(np.diff(place, prepend=-2) != 1)
    first, last = place[begins], place[np.append(begins[1:], len(place)) - 1]
    pairs = []
    for dz, dy, reach in _ROWS:
        step = (dz * (y + 1) + dy) * wide
        low = np.searchsorted(last, first + step - reach)
        high = np.searchsorted(first, last + step + reach, side="right")
        touched = high - low
        one = np.repeat(np.arange(len(first)), touched)
        within = np.arange(len(one)) - np.repeat(np.cumsum(touched) - touched, touched)
        pairs.append(np.stack([one, np.repeat(low, touched) + within]))
    ends = np.concatenate(pairs, axis=1)
    graph = coo_array((np.ones(ends.shape[1], bool), (ends[0], ends[1])), shape=(len(first), len(first)))
    of_run = connected_components(graph, directed=False)[1]
    return np.repeat(of_run, np.diff(np.append(begins, len(place)))).astype(np.int32, copy=False)
