"""Small patients, made in a second by the code that makes large ones."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from deeppsma.core.tracer import Tracer
from deeppsma.phantom.patient import Patient, draw_patient
from deeppsma.phantom.scan.scanners import SCANNERS
from deeppsma.phantom.session import PHANTOM_VERSION, PhantomOptions

COARSE = PhantomOptions(ct="none", scene_spacing_mm=8.0)
#: Wide voxels.
SMALL = replace(SCANNERS[0], name="test", spacing_zyx=(8.0, 8.0, 8.0), plane_size=72)
SMALL_SCANNERS = dict.fromkeys(Tracer, SMALL)


@cache
def small_patient(seed: int, ct: str = "none", version: int = PHANTOM_VERSION) -> Patient:
    """The small patient of a seed; do not change it."""
    return draw_patient(seed, PhantomOptions(ct=ct, scene_spacing_mm=8.0, version=version), SMALL_SCANNERS)
