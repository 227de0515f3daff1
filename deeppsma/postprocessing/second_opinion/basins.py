"""Basins of uptake around peaks, and components of voxels, on the graph of hot voxels.

What h-maxima and a watershed give, at the cost of a list of hot voxels: each
voxel climbs to a peak; a peak that stands out too little over the pass to its
neighbour joins that one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Half of the 18 neighbours: those that come later in C order.
_LATER = tuple(
    (z, y, x)
    for z in (0, 1)
    for y in (-1, 0, 1)
    for x in (-1, 0, 1)
    if (z, y, x) > (0, 0, 0) and abs(z) + abs(y) + abs(x) <= 2
)


@dataclass(frozen=True)
class Neighbours:
    """Pairs of hot voxels that share a face or an edge.

    Parameters
    ----------
    count
        How many hot voxels there are.
    first, second
        [pair] numbers of the hot voxels in C order.
    """

    count: int
    first: NDArray[np.int32]
    second: NDArray[np.int32]

    @classmethod
    def of(cls, hot: NDArray[np.bool_]) -> Neighbours:
        """Pairs of the True voxels of a mask, [z, y, x]."""
        where = np.flatnonzero(hot)
        number = np.full([size + 2 for size in hot.shape], -1, dtype=np.int32)
        number[1:-1, 1:-1, 1:-1][hot] = np.arange(len(where), dtype=np.int32)
        flat = number.reshape(-1)
        index = np.unravel_index(where, hot.shape)
        padded = np.ravel_multi_index([axis + 1 for axis in index], number.shape)
        strides = np.array([number.shape[1] * number.shape[2], number.shape[2], 1])
        first, second = [], []
        for offset in _LATER:
            other = flat[padded + int(np.dot(offset, strides))]
            start = np.flatnonzero(other >= 0).astype(np.int32)
            first.append(start)
            second.append(other[start])
        return cls(len(where), np.concatenate(first), np.concatenate(second))

    def components(self, key: NDArray[np.integer]) -> NDArray[np.int32]:
        """Components within which a key is the same: [n] numbers from 0, in the order of their first voxels."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        same = key[self.first] == key[self.second]
        first, second = self.first[same], self.second[same]
        graph = coo_array((np.ones(len(first), np.int8), (first, second)), shape=(self.count, self.count))
        return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int32)


def basins(values: NDArray[np.floating], neighbours: Neighbours, prominence: float) -> NDArray[np.int32]:
    """Basin of each hot voxel.

    Parameters
    ----------
    values
        [n] of the hot voxels, finite.
    neighbours
        Of those voxels.
    prominence
        A peak is one of its own if it stands this far over the highest pass
        to a higher peak.

    Returns
    -------
    ndarray
        [n] the number of the voxel that is the basin's peak. Voxels of a
        basin are connected.
    """
    # Ranks have no ties: of equal voxels the later one is higher, here and everywhere.
    rank = np.empty(len(values), dtype=np.int64)
    rank[np.argsort(values, kind="stable")] = np.arange(len(values))
    peak = _climb(rank, neighbours)
    lower, higher, saddle = _passes(values, rank, peak, neighbours)
    joined = np.arange(len(values))

    def top(voxel: int) -> int:
        while joined[voxel] != voxel:
            joined[voxel] = joined[joined[voxel]]
            voxel = int(joined[voxel])
        return voxel

    for number in np.argsort(-saddle, kind="stable").tolist():
        a, b = top(int(lower[number])), top(int(higher[number]))
        if a == b:
            continue
        if rank[a] > rank[b]:
            a, b = b, a
        if values[a] - saddle[number] < prominence:
            joined[a] = b
    tops = np.arange(len(values))
    for each in np.unique(peak).tolist():
        tops[each] = top(each)
    return np.asarray(tops[peak], dtype=np.int32)


def _climb(rank: NDArray[np.int64], neighbours: Neighbours) -> NDArray[np.int64]:
    """The peak that each voxel reaches by going to its highest neighbour, again and again."""
    best = rank.copy()
    np.maximum.at(best, neighbours.first, rank[neighbours.second])
    np.maximum.at(best, neighbours.second, rank[neighbours.first])
    voxel_of_rank = np.empty_like(rank)
    voxel_of_rank[rank] = np.arange(len(rank))
    up = voxel_of_rank[best]
    while True:
        further = up[up]
        if np.array_equal(further, up):
            return up
        up = further


def _passes(
    values: NDArray[np.floating], rank: NDArray[np.int64], peak: NDArray[np.int64], neighbours: Neighbours
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.floating]]:
    """Pairs of peaks whose basins touch, the lower one first, and the height of the highest pass between them."""
    a, b = peak[neighbours.first], peak[neighbours.second]
    across = a != b
    height = np.minimum(values[neighbours.first[across]], values[neighbours.second[across]])
    a, b = a[across], b[across]
    lower, higher = np.where(rank[a] < rank[b], a, b), np.where(rank[a] < rank[b], b, a)
    order = np.lexsort((-height, higher, lower))
    lower, higher, height = lower[order], higher[order], height[order]
    new = np.ones(len(lower), dtype=bool)
    new[1:] = (lower[1:] != lower[:-1]) | (higher[1:] != higher[:-1])
    return lower[new], higher[new], height[new]
