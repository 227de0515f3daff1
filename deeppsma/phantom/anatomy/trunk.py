"""Body outline and muscles of the synthetic man; frame and units as in `skeleton`."""

from __future__ import annotations

from deeppsma.core import anatomy as organs
from deeppsma.phantom.anatomy.physique import Physique
from deeppsma.phantom.anatomy.shapes import Ellipsoid, Part, Shape, Tube
from deeppsma.phantom.anatomy.skeleton import Arms, Spine

_SIDES = ((1, "left"), (-1, "right"))


def trunk(physique: Physique, arms: Arms) -> list[Part]:
    """Outer body: skin and fat, then muscle, then the fat that lies between the organs."""
    fat, belly = physique.fat_mm, physique.belly_mm
    torso = (
        Ellipsoid((0, 5, 40), (168 + fat, 100 + fat, 150), power=4),
        Ellipsoid((0, 3 - belly / 2, 190), (150 + fat + belly / 3, 96 + fat + belly / 2, 165), power=4),
        Ellipsoid((0, 3, 420), (160 + 0.7 * fat, 103 + 0.7 * fat, 190), power=4),
        Tube.along([(-140, 15, 565), (140, 15, 565)], 50 + 0.5 * fat),
        Tube.along([(0, 15, 560), (0, 8, 720)], [70 + 0.5 * fat, 54 + 0.3 * fat]),
        Ellipsoid((0, 0, 790), (80, 99, 116)),
    )
    thick = 0.8 * fat
    legs = tuple(_leg(side, thick) for side, _ in _SIDES)
    limbs = tuple(Tube.along(arms.line(s), [44 + thick, 37 + thick, 32 + 0.6 * thick]) for s, _ in _SIDES)
    forearms = tuple(Tube.along(arms.forearm(s), [34, 24]) for s, _ in _SIDES)
    flesh: tuple[Shape, ...] = (
        Ellipsoid((0, 5, 40), (168, 100, 140), power=4),
        Ellipsoid((0, 3 - belly / 2, 190), (150 + belly / 3, 96 + belly / 2, 160), power=4),
        Ellipsoid((0, 3, 420), (160, 103, 180), power=4),
        Tube.along([(-130, 15, 565), (130, 15, 565)], 50),
        Tube.along([(0, 15, 560), (0, 8, 720)], [68, 50]),
        Ellipsoid((0, 0, 790), (77, 95, 112)),
        *(_leg(side, 0) for side, _ in _SIDES),
        *(Tube.along(arms.line(s), [44, 37, 32]) for s, _ in _SIDES),
        *(Tube.along(arms.forearm(s), [30, 20]) for s, _ in _SIDES),
    )
    cavity = Ellipsoid((0, -20 - belly / 2, 190), (128 + belly / 3, 70 + belly / 2, 155), power=4)
    pelvis = Ellipsoid((0, 5, 35), (80, 62, 62))
    mediastinum = Ellipsoid((0, -5, 470), (50, 75, 110))
    return [
        Part("skin_and_fat", "fat", 0, (*torso, *legs, *limbs, *forearms), roughness=0.05),
        Part("flesh", "muscle", 0, flesh, roughness=0.08),
        Part("inner_fat", "fat", 0, (cavity, pelvis, mediastinum), roughness=0.1),
    ]


def muscles(spine: Spine) -> list[Part]:
    """Muscles that TotalSegmentator labels."""
    parts = []
    for side, word in _SIDES:
        left = side > 0
        back = [(side * 38 + spine.aside(z), spine.depth(z) + 40, z) for z in range(90, 560, 60)]
        psoas = [(side * 36, 35, 240), (side * 60, 5, 90), (side * 92, -15, -45)]
        labelled: list[tuple[str, int, Shape]] = [
            ("autochthon", organs.AUTOCHTHON_LEFT if left else organs.AUTOCHTHON_RIGHT, Tube.along(back, 25)),
            ("iliopsoas", organs.ILIOPSOAS_LEFT if left else organs.ILIOPSOAS_RIGHT, Tube.along(psoas, [16, 25, 18])),
            (
                "gluteus_maximus",
                organs.GLUTEUS_MAXIMUS_LEFT if left else organs.GLUTEUS_MAXIMUS_RIGHT,
                Ellipsoid((side * 88, 82, 15), (58, 30, 66), (0, side * 20, 0)),
            ),
            (
                "gluteus_medius",
                organs.GLUTEUS_MEDIUS_LEFT if left else organs.GLUTEUS_MEDIUS_RIGHT,
                Ellipsoid((side * 122, 35, 62), (26, 44, 48)),
            ),
            (
                "gluteus_minimus",
                organs.GLUTEUS_MINIMUS_LEFT if left else organs.GLUTEUS_MINIMUS_RIGHT,
                Ellipsoid((side * 116, 8, 50), (16, 24, 32)),
            ),
        ]
        parts += [Part(f"{name}_{word}", "muscle", label, (shape,)) for name, label, shape in labelled]
    return parts


def _leg(side: int, fat_mm: float) -> Tube:
    radii = [80 + fat_mm, 70 + fat_mm, 55 + fat_mm]
    return Tube.along([(side * 100, 5, -20), (side * 98, 5, -180), (side * 92, 0, -400)], radii)
