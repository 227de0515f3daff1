"""Chest of the synthetic man: lungs, heart, great vessels, airway, gullet, thyroid."""

from __future__ import annotations

import numpy as np

from deeppsma.core import anatomy as organs
from deeppsma.phantom.anatomy.physique import Physique
from deeppsma.phantom.anatomy.shapes import Course, Ellipsoid, Part, Tube, sized
from deeppsma.phantom.anatomy.skeleton import Spine

#: Walls of the left ventricle, as directions from its centre: the heart takes up FDG by walls.
_WALLS = {"anterior": (0.3, -1, 0.2), "lateral": (1, -0.2, 0.2), "inferior": (0.3, 0.4, -1), "septal": (-1, -0.2, 0)}


def chest(spine: Spine, physique: Physique) -> list[Part]:
    """Parts of the chest, in painting order."""
    return [*_lungs(), *_heart(physique), *_vessels(spine), *_airway(spine)]


def _lungs() -> list[Part]:
    right, left = Ellipsoid((-72, 8, 462), (60, 84, 142)), Ellipsoid((75, 8, 466), (56, 82, 140))
    # Lobes: each lower one replaces the back and bottom of its lung, the middle one the front.
    lobes = [
        ("lung_upper_right", organs.LUNG_UPPER_RIGHT, right),
        ("lung_upper_left", organs.LUNG_UPPER_LEFT, left),
        ("lung_middle_right", organs.LUNG_MIDDLE_RIGHT, Ellipsoid((-74, -40, 410), (52, 36, 42))),
        ("lung_lower_right", organs.LUNG_LOWER_RIGHT, Ellipsoid((-74, 32, 415), (54, 58, 98))),
        ("lung_lower_left", organs.LUNG_LOWER_LEFT, Ellipsoid((77, 32, 418), (50, 58, 98))),
    ]
    return [Part(name, "lung", label, (shape,), roughness=0.05) for name, label, shape in lobes]


def _heart(physique: Physique) -> list[Part]:
    heart = sized(Ellipsoid((24, -34, 418), (60, 47, 54), (0, 25, 20)), physique.heart_ml)
    ventricle = Ellipsoid((44, -30, 410), (36, 34, 42), (0, 30, 20))
    walls = []
    for name, direction in _WALLS.items():
        towards = np.array(direction) / np.linalg.norm(direction)
        x, y, z = (float(c) for c in np.array(ventricle.centre_xyz) + 27 * towards)
        walls.append(
            Part(f"myocardium_{name}", f"myocardium_{name}", organs.HEART, (Ellipsoid((x, y, z), (19, 19, 21)),))
        )
    appendage = Ellipsoid((38, -18, 458), (12, 14, 10))
    return [
        Part("heart", "blood", organs.HEART, (heart,)),
        Part("myocardium", "myocardium", organs.HEART, (ventricle,)),
        *walls,
        Part("left_ventricle", "blood", organs.HEART, (ventricle.scaled(0.66),)),
        Part("atrial_appendage", "blood", organs.ATRIAL_APPENDAGE, (appendage,)),
    ]


def _vessels(spine: Spine) -> list[Part]:
    def before_spine(heights: tuple[int, ...], aside: float, before: float) -> Course:
        return [(aside, spine.depth(z) - before, z) for z in heights]

    arch: Course = [(-14, -22, 445), (-12, -25, 500), (8, 0, 522), (22, spine.depth(500) - 30, 500)]
    aorta = [*arch, *before_spine((450, 380, 300, 230, 165), 18, 30)]
    iliac: dict[int, Course] = {
        s: [(s * 6, 10, 160), (s * 45, 12, 100), (s * 68, -15, 45), (s * 84, -45, -5)] for s in (1, -1)
    }
    veins: dict[int, Course] = {
        s: [(s * 4 - 14, 18, 152), (s * 50, 22, 95), (s * 66, -5, 40), (s * 78, -42, -5)] for s in (1, -1)
    }
    carotid: dict[int, Course] = {s: [(s * 12, -8, 525), (s * 22, -8, 600), (s * 27, 2, 690)] for s in (1, -1)}
    subclavian: dict[int, Course] = {s: [(s * 14, -5, 530), (s * 50, -10, 580), (s * 110, 5, 572)] for s in (1, -1)}
    brachiocephalic: dict[int, Course] = {s: [(-26, -10, 525), (s * 25, -28, 545), (s * 40, -20, 580)] for s in (1, -1)}
    tubes: list[tuple[str, int, Course, float | list[float]]] = [
        ("aorta", organs.AORTA, aorta, [14, 14, 13, 12, 11, 11, 10, 9, 8.5]),
        ("pulmonary_vein", organs.PULMONARY_VEIN, [(-45, 10, 448), (0, 8, 445), (50, 12, 450)], 7),
        ("iliac_artery_left", organs.ILIAC_ARTERY_LEFT, iliac[1], 5.5),
        ("iliac_artery_right", organs.ILIAC_ARTERY_RIGHT, iliac[-1], 5.5),
        ("iliac_vein_left", organs.ILIAC_VEIN_LEFT, veins[1], 6.5),
        ("iliac_vein_right", organs.ILIAC_VEIN_RIGHT, veins[-1], 6.5),
        ("inferior_vena_cava", organs.INFERIOR_VENA_CAVA, before_spine((150, 230, 320, 395), -20, 26), 10),
        ("superior_vena_cava", organs.SUPERIOR_VENA_CAVA, [(-26, -8, 450), (-28, -8, 525)], 9),
        ("brachiocephalic_trunk", organs.BRACHIOCEPHALIC_TRUNK, [(-6, -8, 520), (-16, -6, 550)], 6),
        ("subclavian_left", organs.SUBCLAVIAN_LEFT, subclavian[1], 4.5),
        ("subclavian_right", organs.SUBCLAVIAN_RIGHT, subclavian[-1], 4.5),
        ("carotid_left", organs.CAROTID_LEFT, carotid[1], 3.8),
        ("carotid_right", organs.CAROTID_RIGHT, carotid[-1], 3.8),
        ("brachiocephalic_vein_left", organs.BRACHIOCEPHALIC_VEIN_LEFT, brachiocephalic[1], 6),
        ("brachiocephalic_vein_right", organs.BRACHIOCEPHALIC_VEIN_RIGHT, brachiocephalic[-1], 6),
    ]
    return [
        Part(name, "blood", label, (Tube.along(course, radius),), roughness=0.05)
        for name, label, course, radius in tubes
    ]


def _airway(spine: Spine) -> list[Part]:
    gullet = [(4, spine.depth(z) - 30, z) for z in (385, 450, 520, 600)]
    thyroid = (Ellipsoid((17, -18, 608), (9, 9, 22)), Ellipsoid((-17, -18, 608), (9, 9, 22)))
    bronchi = [Tube.along([(0, 0, 520), (s * 42, 8, 478)], 6) for s in (1, -1)]
    return [
        Part("oesophagus", "gut_wall", organs.OESOPHAGUS, (Tube.along(gullet, 8),)),
        Part("trachea", "air", organs.TRACHEA, (Tube.along([(0, -12, 640), (0, 0, 520)], 8.5),), roughness=0),
        Part("bronchi", "air", 0, tuple(bronchi), roughness=0),
        Part("thyroid", "thyroid", organs.THYROID, thyroid),
    ]
