"""Which lesions of the two tracers are one: the share of each that lies on or beside the other tracer's disease.

A lesion's host is the other tracer's lesion that most of its near voxels belong to, if at least a fifth of its voxels
lies near disease there. Touching is not enough: a lesion whose rim alone comes near another one has no host.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deeppsma.reporting.lesion_table import FocusMap

#: Share of a lesion's voxels that must lie near the other tracer's disease; set on synthetic patients (docs/report.md).
SHARE = 0.2


@dataclass(frozen=True)
class Nearness:
    """How far one lesion's voxels are from the other tracer's disease.

    Parameters
    ----------
    distance_mm
        Of each voxel's centre: 0 inside, else to the nearest centre; infinite where it is beyond what was asked for.
    owner
        Number of the lesion there; 0 where the distance is infinite.
    """

    distance_mm: NDArray[np.float64]
    owner: NDArray[np.intp]

    def __post_init__(self) -> None:
        if self.distance_mm.shape != self.owner.shape or not self.distance_mm.size:
            raise ValueError("a lesion has a distance and an owner for each of its voxels, one at least")

    @property
    def nearest_mm(self) -> float:
        """Of all voxels."""
        return float(self.distance_mm.min())

    def host(self, tolerance_mm: float) -> int:
        """Number of the other tracer's lesion that this one lies on or beside; 0 for none."""
        near = self.distance_mm <= tolerance_mm * (1 + 1e-9)
        if near.mean() < SHARE:
            return 0
        return int(np.bincount(self.owner[near]).argmax())


def nearness(
    mapped: NDArray[np.float64], numbers: NDArray[np.integer], other: FocusMap, most_mm: float
) -> dict[int, Nearness]:
    """Distances of all lesions' voxels from the other tracer's disease, by lesion.

    Parameters
    ----------
    mapped
        World points (n, 3) of the other tracer's session, lesion by lesion.
    numbers
        Whose each is, ascending.
    other
        The other tracer's lesions.
    most_mm
        Farther than this need not be known; of a lesion that is farther, all distances are given.

    Returns
    -------
    dict
        By number; no lesion gives none. Without a lesion on the other tracer all distances are infinite.
    """
    from scipy.spatial import cKDTree

    if not len(mapped):
        return {}
    grid, box = other.geometry, other.box
    index = np.rint(grid.world_to_index(mapped)).astype(np.intp) - np.array(box.start_zyx)
    there = ((index >= 0) & (index < np.array(box.shape_zyx))).all(axis=1)
    owner = np.zeros(len(mapped), np.intp)
    owner[there] = other.labels[tuple(index[there].T)]
    distance = np.where(owner > 0, 0.0, np.inf)
    shell, whose = _surface(other)
    starts = np.flatnonzero(np.diff(numbers.astype(np.intp), prepend=-1))
    stops = np.append(starts[1:], len(numbers))
    if len(shell):
        tree = cKDTree(grid.index_to_world(shell))
        whose = np.append(whose, 0)
        asked = np.flatnonzero(owner == 0)
        distance[asked], at = tree.query(mapped[asked], distance_upper_bound=most_mm * (1 + 1e-6))
        owner[asked] = whose[at]
        for start, stop in zip(starts, stops, strict=True):
            if np.isinf(distance[start:stop]).all():
                distance[start:stop], at = tree.query(mapped[start:stop])
                owner[start:stop] = whose[at]
    return {int(numbers[a]): Nearness(distance[a:b], owner[a:b]) for a, b in zip(starts, stops, strict=True)}


def _surface(foci: FocusMap) -> tuple[NDArray[np.intp], NDArray[np.uint16]]:
    """Indices of the disease's outer voxels, and whose they are: from outside, the nearest voxel is one of them."""
    index, numbers = foci.voxels
    inside = np.pad(foci.labels != 0, 1)
    at = index - np.array(foci.box.start_zyx) + 1
    outer = np.zeros(len(at), bool)
    for axis in range(3):
        for step in (-1, 1):
            beside = at.copy()
            beside[:, axis] += step
            outer |= ~inside[tuple(beside.T)]
    return index[outer], numbers[outer]


def hosts_and_guests(hosts: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Partners of each lesion: its host, and those that have it as theirs.

    Parameters
    ----------
    hosts
        By lesion that has one.

    Returns
    -------
    dict
        By lesion; those without a partner are not there. By number, the smallest first.
    """
    partners: dict[str, set[str]] = {}
    for guest, host in hosts.items():
        partners.setdefault(guest, set()).add(host)
        partners.setdefault(host, set()).add(guest)
    return {key: tuple(sorted(each, key=lambda name: int(name[1:]))) for key, each in partners.items()}
