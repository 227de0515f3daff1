"""Bones of the synthetic man, in his own frame.

The frame's origin lies between the hip joints; x to the left, y to the back,
z to the head, mm, for a man of 1750 mm. Sizes follow ICRP 89 and textbooks of
anatomy; they are approximate.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from deeppsma import organs
from deeppsma.phantom.shapes import Ellipsoid, Part, Shape, Tube

_SIDES = ((1, "left"), (-1, "right"))
#: Centres of the vertebral bodies S1 to C1.
_VERTEBRA_Z = (
    *(90, 118, 152, 187, 221, 255),
    *(287, 315, 342, 368, 394, 419, 443, 467, 490, 512, 534, 555),
    *(575, 593, 610, 627, 643, 660, 676),
)
_RIB_WIDTH = (58, 86, 106, 118, 126, 131, 134, 135, 134, 129, 120, 104)


class Spine(NamedTuple):
    """Course of the spine: depth y as a function of height z."""

    z: tuple[float, ...]
    y: tuple[float, ...]

    def depth(self, z: float) -> float:
        """The y of the vertebral bodies' centres at height z."""
        return float(np.interp(z, self.z, self.y))


def draw_spine(rng: np.random.Generator) -> Spine:
    """A spine with kyphosis and lordosis of its own."""
    lordosis, kyphosis = rng.normal(1, 0.2), rng.normal(1, 0.2)
    y = (72, 60, 47 - 4 * lordosis, 43 - 12 * lordosis, 42 - 5 * lordosis, 45 + 12 * kyphosis, 45 + 24 * kyphosis)
    return Spine((40, 90, 118, 187, 255, 342, 450, 545, 590, 640, 690), (*y, 50, 35, 22, 15))


def skeleton(spine: Spine, arms_up: bool) -> list[Part]:
    """Bones as parts, in painting order: spine, pelvis, limbs, chest, head."""
    return [*_spine_parts(spine), *_pelvis_and_legs(), *_shoulders(arms_up), *_chest(spine), *_head()]


def _bone(name: str, label: int, *shapes: Shape, tissue: str = "marrow") -> Part:
    return Part(name, tissue, label, shapes, roughness=0.08)


def _spine_parts(spine: Spine) -> list[Part]:
    parts = []
    for label, name, z in zip(organs.VERTEBRAE, organs.VERTEBRA_NAMES, _VERTEBRA_Z, strict=True):
        y = spine.depth(z)
        share = np.clip((z - 90) / 590, 0, 1)
        half_width, half_depth = 25 - 13 * share, 17 - 8 * share
        half_height = 13.5 - 7 * share
        process = 34 - 16 * share
        shapes: list[Shape] = [
            Ellipsoid((0, y, z), (half_width, half_depth, half_height), power=4),
            Tube.along([(0, y + half_depth + 16, z), (0, y + half_depth + 16 + process * 0.8, z - 8)], 5),
            Tube.along([(-process, y + half_depth + 10, z), (process, y + half_depth + 10, z)], 5),
        ]
        parts.append(_bone(f"vertebra_{name}", label, *shapes))
    cord_z = np.linspace(250, 690, 9)
    cord = [(0, spine.depth(z) + 25 - 10 * (z - 250) / 440, z) for z in cord_z]
    parts.append(Part("spinal_cord", "cord", organs.SPINAL_CORD, (Tube.along(cord, 6.5),)))
    sacrum = Ellipsoid((0, 75, 52), (48, 19, 44), (15, 0, 0))
    parts.append(_bone("sacrum", organs.SACRUM, sacrum, Ellipsoid((0, 78, 5), (16, 9, 18))))
    return parts


def _pelvis_and_legs() -> list[Part]:
    parts = []
    for side, word in _SIDES:
        hip: list[Shape] = [
            Ellipsoid((side * 88, 38, 82), (58, 13, 66), (0, side * 25, -side * 42)),
            Ellipsoid((side * 96, 3, 6), (26, 30, 32)),
            Tube.along([(side * 82, 25, -5), (side * 60, 36, -48)], 15),
            Tube.along([(side * 80, -22, 8), (side * 10, -55, -12)], 9),
            Tube.along([(side * 10, -55, -14), (side * 55, 15, -50)], 7),
        ]
        label = organs.HIP_LEFT if side > 0 else organs.HIP_RIGHT
        parts.append(_bone(f"hip_{word}", label, *hip))
        femur: list[Shape] = [
            Ellipsoid((side * 94, 2, 3), (24, 24, 24)),
            Tube.along([(side * 94, 2, 3), (side * 138, 8, -32)], 16),
            Tube.along([(side * 138, 8, -32), (side * 118, 2, -120), (side * 100, -2, -330)], [19, 15, 14]),
        ]
        label = organs.FEMUR_LEFT if side > 0 else organs.FEMUR_RIGHT
        parts.append(_bone(f"femur_{word}", label, *femur))
    return parts


def arm_line(side: int, arms_up: bool) -> list[tuple[float, float, float]]:
    """Course of the upper arm's bone, from the shoulder to the elbow."""
    if arms_up:
        return [(side * 158, 15, 575), (side * 165, 0, 700), (side * 135, -10, 880)]
    return [(side * 178, 15, 555), (side * 215, 20, 400), (side * 222, 15, 250)]


def _shoulders(arms_up: bool) -> list[Part]:
    parts = []
    for side, word in _SIDES:
        left = side > 0
        humerus = Tube.along(arm_line(side, arms_up), [22, 13, 13])
        parts.append(_bone(f"humerus_{word}", organs.HUMERUS_LEFT if left else organs.HUMERUS_RIGHT, humerus))
        scapula: list[Shape] = [
            Ellipsoid((side * 96, 84, 500), (44, 8, 68), (8, 0, -side * 25)),
            Tube.along([(side * 95, 78, 545), (side * 150, 40, 585)], 9),
        ]
        parts.append(_bone(f"scapula_{word}", organs.SCAPULA_LEFT if left else organs.SCAPULA_RIGHT, *scapula))
        clavicle = Tube.along([(side * 18, -62, 556), (side * 80, -62, 578), (side * 150, 5, 592)], 7)
        parts.append(_bone(f"clavicle_{word}", organs.CLAVICLE_LEFT if left else organs.CLAVICLE_RIGHT, clavicle))
    return parts


def _chest(spine: Spine) -> list[Part]:
    parts = []
    cartilage: list[Shape] = []
    for side, word in _SIDES:
        labels = organs.RIBS_LEFT if side > 0 else organs.RIBS_RIGHT
        for number, (label, width) in enumerate(zip(labels, _RIB_WIDTH, strict=True), start=1):
            start_z = _VERTEBRA_Z[organs.VERTEBRA_NAMES.index(f"T{number}")] + 6
            back = spine.depth(start_z) + 20
            end = np.deg2rad({11: 95, 12: 70}.get(number, 138))
            angle = np.linspace(np.deg2rad(8), end, 7)
            depth = 55 + 4.5 * min(number, 9)
            centre_y = back - depth
            drop = (18 + 6.5 * number) * (angle / np.deg2rad(138)) ** 1.3
            line = np.stack([side * width * np.sin(angle), centre_y + depth * np.cos(angle), start_z - drop], axis=1)
            parts.append(_bone(f"rib_{word}_{number}", label, *Tube.along(line, 5.5).pieces()))
            if number <= 10:
                chest_z = 540 - 16 * min(number, 8)
                cartilage.append(Tube.along([line[-1], (side * 16, -88, chest_z)], 5))
    parts.append(Part("costal_cartilage", "cartilage", organs.COSTAL_CARTILAGE, tuple(cartilage), roughness=0.05))
    parts.append(_bone("sternum", organs.STERNUM, Ellipsoid((0, -92, 475), (19, 6, 82), (-6, 0, 0), power=4)))
    return parts


def _head() -> list[Part]:
    jaw = Tube.along([(50, 5, 735), (42, -35, 705), (0, -72, 700), (-42, -35, 705), (-50, 5, 735)], 7)
    skull: tuple[Shape, ...] = (
        Ellipsoid((0, 2, 810), (73, 91, 72)),
        Ellipsoid((0, -55, 755), (48, 32, 45)),
        jaw,
    )
    brain = Ellipsoid((0, 4, 812), (67, 84, 63))
    cerebellum = Ellipsoid((0, 45, 765), (48, 30, 24))
    return [
        _bone("skull", organs.SKULL, *skull),
        Part("brain", "brain", organs.BRAIN, (brain,), roughness=0.04),
        Part("cerebellum", "cerebellum", organs.BRAIN, (cerebellum,), roughness=0.04),
    ]
