"""Small results for reports: two PETs with boxes of disease, solved by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deeppsma.core import anatomy as organs
from deeppsma.core.geometry import Geometry
from deeppsma.core.tracer import Tracer
from deeppsma.core.transforms import RigidTransform
from deeppsma.core.volume import Volume
from deeppsma.reporting.case_result import CaseResult, TracerResult

#: One voxel is 0.08 ml.
GRID = Geometry((60, 40, 50), (5.0, 4.0, 4.0), (-100.0, -80.0, 0.0))
#: FDG points lie 8 mm (two voxels) to the left of the same PSMA points.
SHIFT_XYZ = (-8.0, 0.0, 0.0)
RUN_REPORT = {
    "notice": "Not for clinical use. Weights trained on: nothing (random weights).",
    "case": "case_0001",
    "fallbacks": ["CT not used: there is none"],
    "recipe": {"name": "hand", "summary": "boxes set by hand", "source": "no paper"},
    "members": [{"name": "hand", "what": "nothing", "sha256": "ab" * 32, "trained_on": "nothing", "folder": "x"}],
    "versions": {"deeppsma": "0.0.1"},
}


@dataclass(frozen=True)
class Spot:
    """A box of disease: first voxel, size, SUV, and whether the mask holds it."""

    start_zyx: tuple[int, int, int]
    size_zyx: tuple[int, int, int]
    suv: float
    found: bool = True


def organ_map() -> Volume:
    """Sacrum, L5 and L4, an aorta, a bladder, a liver."""
    labels = np.zeros(GRID.shape_zyx, np.uint8)
    labels[5:20, 22:32, 18:32] = organs.SACRUM
    labels[20:26, 22:32, 20:30] = organs.VERTEBRAE[1]
    labels[26:32, 22:32, 20:30] = organs.VERTEBRAE[2]
    labels[26:50, 12:18, 22:28] = organs.AORTA
    labels[0:8, 10:20, 18:32] = organs.BLADDER
    labels[44:56, 8:30, 2:14] = organs.LIVER
    return Volume(labels, GRID)


def scan(
    tracer: Tracer, spots: Sequence[Spot], threshold: float = 3.0, with_organs: bool = True, with_ct: bool = False
) -> TracerResult:
    suv, mask = np.ones(GRID.shape_zyx, np.float32), np.zeros(GRID.shape_zyx, np.uint8)
    for spot in spots:
        place = tuple(slice(a, a + n) for a, n in zip(spot.start_zyx, spot.size_zyx, strict=True))
        suv[place] = spot.suv
        mask[place] = int(spot.found)
    hu = np.full(GRID.shape_zyx, 40, np.int16)
    hu[:, :4] = -1000
    ct = Volume(hu, GRID) if with_ct else None
    return TracerResult(
        tracer, Volume(suv, GRID), threshold, Volume(mask, GRID), organ_map() if with_organs else None, ct
    )


def result(spots: Mapping[Tracer, Sequence[Spot]], **options) -> CaseResult:
    scans = {tracer: scan(tracer, each, **options) for tracer, each in spots.items()}
    moved = RigidTransform(translation_xyz=SHIFT_XYZ) if len(scans) == 2 else None
    return CaseResult("case_0001", scans, moved, RUN_REPORT, synthetic=True)


#: P1 (and F1, two voxels farther left) in L4; P2 small, F2 left of the liver, alone.
TYPICAL = {
    Tracer.PSMA: [Spot((27, 24, 22), (4, 5, 4), 12.0), Spot((10, 24, 22), (2, 2, 1), 6.0)],
    Tracer.FDG: [Spot((27, 24, 24), (4, 5, 4), 5.0), Spot((40, 30, 36), (4, 4, 4), 8.0)],
}
