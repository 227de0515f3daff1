"""Abdomen of the synthetic man: liver, spleen, kidneys, pancreas, gut and its gas."""

from __future__ import annotations

import numpy as np

from deeppsma.core import anatomy as organs
from deeppsma.phantom.anatomy.physique import Physique
from deeppsma.phantom.anatomy.shapes import Course, Ellipsoid, Part, Shape, Tube, sized

SIDES = ((1, "left"), (-1, "right"))


def abdomen(physique: Physique, rng: np.random.Generator) -> list[Part]:
    """Parts of the abdomen, with a gut of the man's own, in painting order."""
    liver = sized(Ellipsoid((-80, -2, 338), (74, 72, 72)), physique.liver_ml * 0.85)
    left_lobe = sized(Ellipsoid((-8, -42, 352), (72, 36, 36)), physique.liver_ml * 0.2)
    stomach = Ellipsoid((58, -38, 335), (42, 36, 58), (0, -25, 0))
    bubble = Ellipsoid((62, -58, 365), (24, 13, 18))
    spleen = sized(Ellipsoid((108, 46, 350), (28, 40, 50), (0, 20, 0)), physique.spleen_ml)
    portal = Tube.along([(6, 2, 280), (-22, -6, 308), (-48, -4, 330)], 6.5)
    pancreas = Tube.along([(-36, -18, 268), (8, -22, 286), (80, 22, 318)], [14, 11, 9])
    duodenum = Tube.along([(-18, -38, 300), (-48, -18, 288), (-50, 2, 240), (0, -2, 222), (28, -15, 252)], 12)
    return [
        Part("stomach", "stomach", organs.STOMACH, (stomach,)),
        Part("stomach_gas", "gas", organs.STOMACH, (bubble,)),
        *_small_bowel(rng),
        *_colon(rng),
        Part("liver", "liver", organs.LIVER, (liver, left_lobe)),
        Part("gallbladder", "bile", organs.GALLBLADDER, (Ellipsoid((-58, -62, 292), (14, 17, 27)),)),
        Part("portal_vein", "blood", organs.PORTAL_VEIN, (portal,)),
        Part("spleen", "spleen", organs.SPLEEN, (spleen,)),
        Part("pancreas", "pancreas", organs.PANCREAS, (pancreas,)),
        *(
            Part(f"duodenum_{i}", "duodenum", organs.DUODENUM, (piece,), 0.2)
            for i, piece in enumerate(duodenum.pieces())
        ),
        *_kidneys(physique, rng),
    ]


def kidney_height(side: int) -> float:
    """Height z of a kidney's centre; the left one lies higher."""
    return 262.0 if side > 0 else 248.0


def _kidneys(physique: Physique, rng: np.random.Generator) -> list[Part]:
    parts = []
    for side, word in SIDES:
        left, z = side > 0, kidney_height(side)
        adrenal = Tube.along([(side * 44, 34, 308), (side * 36, 40, 332)], 5)
        parts.append(
            Part(f"adrenal_{word}", "adrenal", organs.ADRENAL_LEFT if left else organs.ADRENAL_RIGHT, (adrenal,))
        )
        if not physique.has_kidney(word):
            continue
        label = organs.KIDNEY_LEFT if left else organs.KIDNEY_RIGHT
        kidney = sized(Ellipsoid((side * 66, 50, z), (27, 25, 54), (12, -side * 12, 0)), physique.kidney_ml)
        sinus = Ellipsoid((side * 50, 46, z), (14, 13, 24))
        parts += [
            Part(f"kidney_{word}", "kidney", label, (kidney,)),
            Part(f"renal_medulla_{word}", "medulla", label, (kidney.scaled(0.68),), roughness=0.25),
            Part(f"renal_sinus_{word}", "fat", 0, (sinus,), roughness=0.25),
            Part(f"renal_pelvis_{word}", "calyces", label, (Ellipsoid((side * 52, 46, z), (9, 9, 17)),), roughness=0.3),
        ]
    for number in range(physique.kidney_cysts):
        side, word = SIDES[int(rng.integers(2))]
        if physique.has_kidney(word):
            label = organs.KIDNEY_CYST_LEFT if side > 0 else organs.KIDNEY_CYST_RIGHT
            at = (side * 88.0, 48.0, kidney_height(side) + float(rng.uniform(-40, 40)))
            radius = float(rng.uniform(6, 24))
            parts.append(Part(f"kidney_cyst_{word}_{number}", "cyst", label, (Ellipsoid(at, (radius,) * 3),)))
    return parts


def _small_bowel(rng: np.random.Generator) -> list[Part]:
    """Loops, each a part of its own: they take up tracer unlike each other."""
    parts = []
    for number in range(7):
        turn = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0.9, 0.5, size=8))
        x = rng.uniform(-55, 55) + np.cumsum(26 * np.cos(turn))
        z = rng.uniform(110, 220) + np.cumsum(20 * np.sin(turn))
        y = -48 + rng.normal(0, 12, size=8)
        line = np.stack([np.clip(x, -95, 95), np.clip(y, -75, -10), np.clip(z, 75, 255)], axis=1)
        upper = number < 2
        if upper:  # the jejunum lies in the upper left
            line += (30, 0, 40)
        tissue = "jejunum" if upper else "ileum"
        loops = Tube.along(line, float(rng.uniform(10, 13))).pieces()
        parts.append(Part(f"small_bowel_{number}", tissue, organs.SMALL_BOWEL, tuple(loops), roughness=0.2))
    return parts


def _colon(rng: np.random.Generator) -> list[Part]:
    sag = rng.uniform(-45, 15)
    ascending: Course = [(-100, 5, 85), (-112, 12, 180), (-110, 5, 262)]
    transverse: Course = [(-110, 5, 262), (-50, -68, 258 + sag), (40, -70, 268 + sag), (108, -5, 305)]
    descending: Course = [(108, -5, 305), (118, 30, 220), (112, 22, 115)]
    loop = float(rng.uniform(0, 45))
    sigmoid: Course = [(112, 22, 115), (78, 0, 72), (40, -10 + rng.normal(0, 8), 78 + loop), (8, 42, 55)]
    rectum: Course = [(8, 42, 55), (0, 55, 15), (0, 45, -45)]
    courses = {"ascending": ascending, "transverse": transverse, "descending": descending, "sigmoid": sigmoid}
    parts = []
    for name, line in courses.items():
        pieces: list[Shape] = list(Tube.along(line, float(rng.uniform(14, 22))).pieces())
        parts.append(Part(f"colon_{name}", f"colon_{name}", organs.COLON, tuple(pieces), roughness=0.2))
    parts.append(Part("rectum", "rectum", organs.COLON, tuple(Tube.along(rectum, 17).pieces()), roughness=0.15))
    # Gas rises to the front of each limb.
    for name, line in {**courses, "rectum": rectum}.items():
        if rng.random() < 0.55:
            points = np.array(line, dtype=float)
            share = float(rng.uniform(0.2, 1.0))
            end = points[0] + share * (points[1] - points[0])
            front = np.stack([points[0], end]) + np.array([0, -6, 0])
            gas = Tube.along(front, float(rng.uniform(4, 10)))
            parts.append(Part(f"gas_{name}", "gas", organs.COLON, (gas,), roughness=0.3))
    return parts
