"""Bones of the synthetic man, in his own frame.

The frame's origin lies between the hip joints; x to the left, y to the back,
z to the head, mm, for a man of 1750 mm. Sizes follow ICRP 89 and textbooks of
anatomy; they are approximate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from deeppsma.core import anatomy as organs
from deeppsma.phantom.anatomy.physique import Physique
from deeppsma.phantom.anatomy.shapes import Ellipsoid, Part, Shape, Tube

_SIDES = ((1, "left"), (-1, "right"))
#: Centres of the vertebral bodies S1 to C1.
_VERTEBRA_Z = (
    *(90, 118, 152, 187, 221, 255),
    *(287, 315, 342, 368, 394, 419, 443, 467, 490, 512, 534, 555),
    *(575, 593, 610, 627, 643, 660, 676),
)
_RIB_WIDTH = (58, 86, 106, 118, 126, 131, 134, 135, 134, 129, 120, 104)


class Spine(NamedTuple):
    """Course of the spine: where the vertebral bodies' centres are at a height z."""

    z: tuple[float, ...]
    y: tuple[float, ...]
    scoliosis_mm: float

    def depth(self, z: float) -> float:
        """The y of the bodies' centres at height z, mm."""
        return float(np.interp(z, self.z, self.y))

    def aside(self, z: float) -> float:
        """The x of the bodies' centres at height z, mm."""
        return self.scoliosis_mm * float(np.sin(np.pi * np.clip((z - 90) / 420, 0, 1)))


@dataclass(frozen=True)
class Arms:
    """How the arms lie in one session.

    Parameters
    ----------
    up
        Above the head, else along the trunk.
    elbow_shift_xyz
        How far the left elbow is from where the standard man has it, mm; the
        right one mirrors it.
    """

    up: bool
    elbow_shift_xyz: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def line(self, side: int) -> list[tuple[float, float, float]]:
        """Course of the upper arm from shoulder to elbow; side is 1 for left, -1 for right."""
        x, y, z = self.elbow_shift_xyz
        if self.up:
            return [(side * 158, 15, 575), (side * (165 + x / 2), y / 2, 700), (side * (135 + x), y - 10, 880 + z)]
        return [(side * 178, 15, 555), (side * (215 + x / 2), 20 + y / 2, 400), (side * (222 + x), 15 + y, 250 + z)]

    def forearm(self, side: int) -> list[tuple[float, float, float]]:
        """Course of the forearm from elbow to wrist."""
        elbow = self.line(side)[-1]
        if self.up:
            return [elbow, (side * 40, elbow[1] - 25, 905)]
        return [elbow, (side * 205, elbow[1] - 30, 20)]

    def carried(self, point: tuple[float, float, float], to: Arms) -> tuple[float, float, float]:
        """Where a point of an arm comes to lie when these arms are moved to lie as others do.

        It keeps its place along the arm; aside of the bone's line it keeps
        half its distance, so that it stays in the bone.
        """
        side = 1 if point[0] > 0 else -1
        here, there = (np.array([*arms.line(side), arms.forearm(side)[-1]]) for arms in (self, to))
        steps = np.diff(here, axis=0)
        along = ((np.array(point) - here[:-1]) * steps).sum(axis=1) / (steps**2).sum(axis=1)
        feet = here[:-1] + np.clip(along, 0, 1)[:, None] * steps
        nearest = int(np.argmin(np.linalg.norm(feet - point, axis=1)))
        share = float(np.clip(along[nearest], 0, 1))
        foot = there[nearest] + share * (there[nearest + 1] - there[nearest])
        x, y, z = (foot + 0.5 * (np.array(point) - feet[nearest])).tolist()
        return x, y, z


def draw_spine(physique: Physique, rng: np.random.Generator) -> Spine:
    """A spine with kyphosis and lordosis of its own; old men stoop."""
    lordosis, kyphosis = rng.normal(1, 0.2), rng.normal(1 + 0.012 * (physique.age_years - 70), 0.2)
    y = (72, 60, 47 - 4 * lordosis, 43 - 12 * lordosis, 42 - 5 * lordosis, 45 + 12 * kyphosis, 45 + 24 * kyphosis)
    z = (40, 90, 118, 187, 255, 342, 450, 545, 590, 640, 690)
    return Spine(z, (*y, 50, 35, 22, 15), physique.scoliosis_mm)


def skeleton(spine: Spine, physique: Physique, arms: Arms) -> list[Part]:
    """Bones as parts, in painting order: spine, pelvis, limbs, chest, head."""
    return [*_spine_parts(spine, physique), *_pelvis_and_legs(physique), *_shoulders(arms), *_chest(spine), *_head()]


def _bone(name: str, label: int, *shapes: Shape, tissue: str = "marrow") -> Part:
    return Part(name, tissue, label, shapes, roughness=0.08)


def _spine_parts(spine: Spine, physique: Physique) -> list[Part]:
    parts = []
    for label, name, z in zip(organs.VERTEBRAE, organs.VERTEBRA_NAMES, _VERTEBRA_Z, strict=True):
        x, y = spine.aside(z), spine.depth(z)
        share = np.clip((z - 90) / 590, 0, 1)
        half_width, half_depth = 25 - 13 * share, 17 - 8 * share
        half_height = (13.5 - 7 * share) * (0.6 if name in physique.collapsed else 1.0)
        process = 34 - 16 * share
        back = y + half_depth
        shapes: list[Shape] = [
            Ellipsoid((x, y, z), (half_width, half_depth, half_height), power=4),
            Tube.along([(x, back + 16, z), (x, back + 16 + process * 0.8, z - 8)], 5),
            Tube.along([(x - process, back + 10, z), (x + process, back + 10, z)], 5),
        ]
        if name in physique.degenerated:
            side = 1 if organs.VERTEBRA_NAMES.index(name) % 2 else -1
            rim = (x + side * half_width * 0.9, y - half_depth * 0.7, z + half_height * 0.8)
            shapes.append(Ellipsoid(rim, (7, 6, 5)))
        parts.append(_bone(f"vertebra_{name}", label, *shapes))
    cord_z = np.linspace(250, 690, 9)
    cord = [(spine.aside(z), spine.depth(z) + 25 - 10 * (z - 250) / 440, z) for z in cord_z]
    parts.append(Part("spinal_cord", "cord", organs.SPINAL_CORD, (Tube.along(cord, 6.5),)))
    sacrum = Ellipsoid((0, 75, 52), (48, 19, 44), (15, 0, 0))
    parts.append(_bone("sacrum", organs.SACRUM, sacrum, Ellipsoid((0, 78, 5), (16, 9, 18))))
    return parts


def _pelvis_and_legs(physique: Physique) -> list[Part]:
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
        parts.append(_bone(f"femur_{word}", label, *femur, tissue="yellow_marrow"))
        if physique.hip_prosthesis == word:
            # Segmenters leave out most of the metal: it has no label.
            metal = (Ellipsoid((side * 94, 2, 3), (23, 23, 23)), Tube.along([*femur_stem(side)], [9, 9, 6]))
            parts.append(Part(f"prosthesis_{word}", "metal", 0, metal, roughness=0))
    return parts


def femur_stem(side: int) -> list[tuple[float, float, float]]:
    """Course of a hip prosthesis from its head down the femur."""
    return [(side * 94, 2, 3), (side * 132, 7, -35), (side * 120, 3, -140)]


def _shoulders(arms: Arms) -> list[Part]:
    parts = []
    for side, word in _SIDES:
        left = side > 0
        humerus = Tube.along(arms.line(side), [22, 13, 13])
        label = organs.HUMERUS_LEFT if left else organs.HUMERUS_RIGHT
        parts.append(_bone(f"humerus_{word}", label, humerus, tissue="yellow_marrow"))
        parts.append(_bone(f"forearm_{word}", 0, Tube.along(arms.forearm(side), 12), tissue="yellow_marrow"))
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
        _bone("skull", organs.SKULL, *skull, tissue="yellow_marrow"),
        Part("brain", "brain", organs.BRAIN, (brain,), roughness=0.04),
        Part("cerebellum", "cerebellum", organs.BRAIN, (cerebellum,), roughness=0.04),
    ]
