"""Pelvis of the synthetic man: bladder at this session's filling, prostate, ureters, testes."""

from __future__ import annotations

import numpy as np

from deeppsma.core import anatomy as organs
from deeppsma.phantom.anatomy.abdomen import SIDES, kidney_height
from deeppsma.phantom.anatomy.physique import Physique
from deeppsma.phantom.anatomy.shapes import Ellipsoid, Part, Tube, sized


def pelvis(
    physique: Physique, bladder_ml: float, bladder_at_ct_ml: float, furosemide: bool, rng: np.random.Generator
) -> list[Part]:
    """Parts of the pelvis, in painting order.

    Parameters
    ----------
    physique
        The man.
    bladder_ml, bladder_at_ct_ml
        What the bladder holds when the pelvis' PET is measured, and at the CT:
        urine that came later lies outside the CT's bladder, and outside its
        label.
    furosemide
        Given: ureters empty faster, fewer beads of urine stand in them.
    rng
        Where the ureters run and their beads stand, this session.
    """
    parts = []
    if physique.prostate_ml:
        prostate = sized(Ellipsoid((0, -12, -8), (24, 17, 19)), physique.prostate_ml)
        parts.append(Part("prostate", "prostate", organs.PROSTATE, (prostate,)))
        vesicles = (Ellipsoid((20, 8, 18), (20, 7, 8), (0, 20, 0)), Ellipsoid((-20, 8, 18), (20, 7, 8), (0, -20, 0)))
        parts.append(Part("seminal_vesicles", "prostate", 0, vesicles))
    late, early = (_bladder(volume) for volume in (max(bladder_ml, bladder_at_ct_ml), bladder_at_ct_ml))
    parts.append(Part("bladder_late", "urine_late", 0, (late,), roughness=0.08))
    parts.append(Part("bladder", "urine", organs.BLADDER, (early,), roughness=0.08))
    parts.append(Part("urethra", "urethra", 0, (Tube.along([(0, -15, -22), (0, -38, -75)], 4),)))
    for side, word in SIDES:
        if physique.has_kidney(word):
            parts += _ureter(side, word, furosemide, rng)
        parts.append(Part(f"testis_{word}", "testis", 0, (Ellipsoid((side * 18, -62, -110), (13, 15, 20)),)))
    return parts


def _bladder(volume_ml: float) -> Ellipsoid:
    bladder = sized(Ellipsoid((0, -30, 0), (42, 36, 32)), volume_ml)
    # A full bladder rises: its neck stays on the pelvic floor.
    return bladder.moved((0, 0, bladder.semi_xyz[2] + 6))


def _ureter(side: int, word: str, furosemide: bool, rng: np.random.Generator) -> list[Part]:
    z = kidney_height(side)
    course = np.array([(50, 42, z - 12), (36, 28, 190), (34, 15, 130), (52, 22, 75), (24, 0, 30)], dtype=float)
    course += rng.normal(0, 3, size=course.shape)
    course[:, 0] *= side
    parts = [Part(f"ureter_{word}", "ureter_wall", 0, tuple(Tube.along(course, 2.6).pieces()), roughness=0)]
    for bead in range(int(rng.integers(0, 3) if furosemide else rng.integers(1, 5))):
        share = rng.uniform(0, len(course) - 1.01)
        i, t = int(share), share % 1
        here = course[i] * (1 - t) + course[i + 1] * t
        there = here + (course[i + 1] - course[i]) * min(float(rng.uniform(0.05, 0.4)), 1 - t)
        drop = Tube.along(np.stack([here, there]), float(rng.uniform(2.0, 3.4)))
        parts.append(Part(f"ureter_bead_{word}_{bead}", "ureter_urine", 0, (drop,)))
    return parts
