"""Which lesion each of the run report's probabilities belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.tracer import Tracer

#: The run report's focus and a lesion are one if the centre lies this near to a voxel of the lesion, mm.
_SAME_MM = 5.0
#: Or if the two centres lie this near: a hollow or bent lesion's centre is far from all its voxels, mm.
_SAME_CENTRE_MM = 0.5


def probabilities_of(
    run_report: Mapping[str, Any], tracer: Tracer, foci: list[NDArray[np.float64]], removed: bool = False
) -> list[float | None]:
    """Probability of each focus, from the run report's "foci", or None where it gives none.

    The run report lists foci by tracer, each with ``centre_xyz_mm`` (world of the session; or ``x_mm``, ``y_mm``,
    ``z_mm``), a ``probability`` and maybe a ``decision``. A probability belongs to the lesion that has the same
    centre; else to that whose voxel is nearest to the centre, if that is near (`_SAME_MM`); a lesion has the largest
    of its own. Foci that were left out are nobody's.

    Parameters
    ----------
    run_report, tracer
        Whose.
    foci
        World points (n, 3) of each lesion's voxels.
    removed
        Whether the foci are ones that are not called disease: then their
        probabilities are those of what the networks had called so, and trees
        removed. Else what was removed is nobody's.
    """
    from scipy.spatial import cKDTree

    listed = run_report.get("foci")
    entries = listed.get(tracer.value) if isinstance(listed, Mapping) else None
    out: list[float | None] = [None] * len(foci)
    if not entries or not foci:
        return out
    owner = np.repeat(np.arange(len(foci)), [len(points) for points in foci])
    tree, centres = cKDTree(np.concatenate(foci)), cKDTree([points.mean(axis=0) for points in foci])
    for entry in entries:
        given = _centre_and_probability(entry, removed)
        if given is None:
            continue
        distance, number = centres.query(given[0])
        if distance > _SAME_CENTRE_MM:
            distance, nearest = tree.query(given[0])
            number = int(owner[nearest])
        if distance <= _SAME_MM:
            out[number] = max(given[1], out[number] or 0.0)
    return out


def _centre_and_probability(entry: Any, removed: bool) -> tuple[list[float], float] | None:
    if not isinstance(entry, Mapping) or entry.get("probability") is None:
        return None
    decision = entry.get("decision")
    if decision == "left out" or (decision == "removed") is not removed:
        return None
    centre = entry.get("centre_xyz_mm") or [entry.get(f"{axis}_mm") for axis in "xyz"]
    if len(centre) != 3 or any(value is None for value in centre):
        return None
    return [float(value) for value in centre], float(entry["probability"])
