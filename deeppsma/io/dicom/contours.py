"""Closed contours along the edges of voxels: what lies inside them is the mask, voxel by voxel.

Contours through voxel centres lose the outermost voxels when they are filled again; these keep half a voxel's distance
from every centre. A contour with holes is one closed line: each hole is joined to what lies around it by a keyhole, a
bridge of no width along voxel edges, because readers differ over contours inside contours (union, or exclusive or).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

#: A corner of voxels: row and column of the voxel below and to the right of it.
Corner = tuple[int, int]
_UP: Corner = (-1, 0)


def voxel_edge_contours(mask_yx: NDArray) -> list[NDArray[np.float64]]:
    """Contours of one slice of a mask.

    Parameters
    ----------
    mask_yx
        [y, x], 0 or not.

    Returns
    -------
    list of NDArray
        For each part of voxels that share edges, (n, 2) points y, x in voxels, centres at whole numbers; the last
        point is joined to the first. Parts that touch at a corner only are contours of their own. Empty for an empty
        mask.
    """
    from scipy.ndimage import find_objects, label

    parts, _ = label(mask_yx != 0)
    contours = []
    for number, (rows, columns) in enumerate(find_objects(parts), start=1):
        loops = _loops(parts[rows, columns] == number)
        corners = np.array(_joined(loops), dtype=np.float64)
        contours.append(corners + np.array([rows.start - 0.5, columns.start - 0.5]))
    return contours


def _loops(part: NDArray[np.bool_]) -> list[list[Corner]]:
    """Boundary loops of one connected part, it on their right: the outer one first, then the holes from above down.

    Where two of its voxels touch at a corner, the line turns to the voxel that it comes along, so that what is outside
    is connected over that corner and the part is not.
    """
    ends = _edges(part)
    loops = []
    for start in sorted(ends):
        if start not in ends:
            continue
        # The topmost corner of a loop that is left: no other line passes it.
        loop: list[Corner] = []
        at, step = start, _UP
        while not loop or at != start:
            loop.append(at)
            steps = ends[at]
            right = (step[1], -step[0])
            step = right if right in steps else steps[0]
            steps.remove(step)
            if not steps:
                del ends[at]
            at = (at[0] + step[0], at[1] + step[1])
        loops.append(loop)
    return loops


def _edges(part: NDArray[np.bool_]) -> dict[Corner, list[Corner]]:
    """Steps that lead away from each corner along the boundary, the part on their right."""
    around = np.pad(part, 1)
    ends: dict[Corner, list[Corner]] = {}
    # Neighbour that must be outside, corner of the voxel where its edge starts, and the step along it.
    sides = (((-1, 0), (0, 0), (0, 1)), ((0, 1), (0, 1), (1, 0)), ((1, 0), (1, 1), (0, -1)), ((0, -1), (1, 0), (-1, 0)))
    for (away_y, away_x), (from_y, from_x), step in sides:
        neighbour = np.roll(around, (-away_y, -away_x), axis=(0, 1))[1:-1, 1:-1]
        for y, x in np.argwhere(part & ~neighbour).tolist():
            ends.setdefault((y + from_y, x + from_x), []).append(step)
    return ends


def _joined(loops: list[list[Corner]]) -> list[Corner]:
    """One closed line of a part's loops, without corners on straight stretches.

    From a hole's topmost corner the bridge goes straight up: between voxels of the part, until it meets a line that is
    joined already, for all that lies higher is.
    """
    line, *holes = loops
    line = list(line)
    following = [*range(1, len(line)), 0]
    there = {corner: place for place, corner in enumerate(line)}
    bridged: set[Corner] = set()
    for hole in holes:
        foot = hole[0]
        head = (foot[0] - 1, foot[1])
        while head not in there:
            head = (head[0] - 1, head[1])
        first, before = len(line), there[head]
        line += [*hole, foot, head]
        following += [*range(first + 1, len(line)), following[before]]
        following[before] = first
        for place, corner in enumerate(hole, start=first):
            there.setdefault(corner, place)
        bridged |= {foot, head}
    ordered, at = [line[0]], following[0]
    while at:
        ordered.append(line[at])
        at = following[at]
    return _without_straight(ordered, bridged)


def _without_straight(line: list[Corner], kept: Iterable[Corner]) -> list[Corner]:
    keep = set(kept)
    out = []
    for before, corner, after in zip(line[-1:] + line[:-1], line, line[1:] + line[:1], strict=True):
        if corner in keep or _direction(before, corner) != _direction(corner, after):
            out.append(corner)
    return out


def _direction(one: Corner, other: Corner) -> Corner:
    step = np.sign((other[0] - one[0], other[1] - one[1]))
    return int(step[0]), int(step[1])
