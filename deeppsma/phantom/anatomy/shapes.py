"""Solid shapes: what anatomy and lesions are made of.

A shape has a level: at most 1 inside, above 1 outside, growing outwards. The
rasteriser perturbs the level by a smooth field, so that no organ is a perfect
ellipsoid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deeppsma.core.transforms import rotation_matrix

Points = NDArray[np.float32]
#: Points x, y, z that a tube runs through, mm.
Course = list[tuple[float, float, float]]


class Shape(Protocol):
    """Anything with a level and bounds, in mm of the patient's frame (x, y, z)."""

    def level(self, x: Points, y: Points, z: Points) -> Points:
        """Level at each point; at most 1 inside."""

    def bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper corner of an axis-aligned box around the shape, x, y, z."""

    def moved(self, shift_xyz: Sequence[float]) -> Shape:
        """The same shape elsewhere."""


@dataclass(frozen=True)
class Ellipsoid:
    """Superellipsoid: ``sum(|d / semi|^power) <= 1`` in its own, turned axes.

    Parameters
    ----------
    centre_xyz, semi_xyz
        mm.
    turn_deg
        Rotations about x, y, z in turn, degrees.
    power
        2 for an ellipsoid, 4 for a rounded box.
    """

    centre_xyz: tuple[float, float, float]
    semi_xyz: tuple[float, float, float]
    turn_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    power: int = 2

    def level(self, x: Points, y: Points, z: Points) -> Points:
        """Level at each point; at most 1 inside."""
        d = [p - np.float32(c) for p, c in zip((x, y, z), self.centre_xyz, strict=True)]
        if any(self.turn_deg):
            turn = rotation_matrix(self.turn_deg).T.astype(np.float32)
            d = [turn[i, 0] * d[0] + turn[i, 1] * d[1] + turn[i, 2] * d[2] for i in range(3)]
        total: Points = np.zeros((), np.float32)
        for component, semi in zip(d, self.semi_xyz, strict=True):
            squared = (component / np.float32(semi)) ** 2
            total = total + (squared if self.power == 2 else squared ** (self.power // 2))
        return total if self.power == 2 else total ** np.float32(2 / self.power)

    def bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper corner, x, y, z."""
        turn = np.abs(rotation_matrix(self.turn_deg))
        semi = np.array(self.semi_xyz)
        # An ellipsoid's extent along an axis is the norm of the turned semi-axes; a box's their sum.
        reach = np.sqrt((turn * semi) ** 2 @ np.ones(3)) if self.power == 2 else turn @ semi
        return np.array(self.centre_xyz) - reach, np.array(self.centre_xyz) + reach

    def moved(self, shift_xyz: Sequence[float]) -> Ellipsoid:
        """The same shape elsewhere."""
        x, y, z = (c + s for c, s in zip(self.centre_xyz, shift_xyz, strict=True))
        return replace(self, centre_xyz=(x, y, z))

    def scaled(self, factor: float) -> Ellipsoid:
        """The same shape, larger or smaller about its centre."""
        a, b, c = (s * factor for s in self.semi_xyz)
        return replace(self, semi_xyz=(a, b, c))

    @property
    def volume_ml(self) -> float:
        """Volume of the unperturbed ellipsoid (power 2), ml."""
        return float(4 / 3 * np.pi * np.prod(self.semi_xyz) / 1000)


@dataclass(frozen=True)
class Tube:
    """Chain of capsules along a line of points: vessels, gut, ribs.

    Parameters
    ----------
    points_xyz
        Shape (n, 3), mm.
    radius_mm
        One radius, or one per point.
    """

    points_xyz: NDArray[np.float64]
    radius_mm: NDArray[np.float64]

    @classmethod
    def along(cls, points_xyz: ArrayLike, radius_mm: float | Sequence[float]) -> Tube:
        """Tube through points with one radius or one per point."""
        points = np.asarray(points_xyz, dtype=float)
        radius = np.broadcast_to(np.asarray(radius_mm, dtype=float), (len(points),)).copy()
        return cls(points, radius)

    def level(self, x: Points, y: Points, z: Points) -> Points:
        """Level at each point; at most 1 inside."""
        best: Points | None = None
        for (a, b), (ra, rb) in zip(
            zip(self.points_xyz[:-1], self.points_xyz[1:], strict=True),
            zip(self.radius_mm[:-1], self.radius_mm[1:], strict=True),
            strict=True,
        ):
            axis = (b - a).astype(np.float32)
            length2 = float(axis @ axis) or 1.0
            dx, dy, dz = x - np.float32(a[0]), y - np.float32(a[1]), z - np.float32(a[2])
            t = np.clip((dx * axis[0] + dy * axis[1] + dz * axis[2]) / np.float32(length2), 0, 1)
            distance2 = (dx - t * axis[0]) ** 2 + (dy - t * axis[1]) ** 2 + (dz - t * axis[2]) ** 2
            level = distance2 / (np.float32(ra) + t * np.float32(rb - ra)) ** 2
            best = level if best is None else np.minimum(best, level)
        if best is None:
            raise ValueError("a tube needs two points or more")
        return best

    def bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper corner, x, y, z."""
        reach = self.radius_mm[:, None]
        return (self.points_xyz - reach).min(axis=0), (self.points_xyz + reach).max(axis=0)

    def moved(self, shift_xyz: Sequence[float]) -> Tube:
        """The same shape elsewhere."""
        return Tube(self.points_xyz + np.asarray(shift_xyz, dtype=float), self.radius_mm)

    def pieces(self) -> list[Tube]:
        """One tube per segment: long, bent tubes paint faster piece by piece."""
        return [Tube(self.points_xyz[i : i + 2], self.radius_mm[i : i + 2]) for i in range(len(self.points_xyz) - 1)]


@dataclass(frozen=True)
class Part:
    """A named piece of anatomy: what it is made of, its label, its shapes.

    Parameters
    ----------
    name
        Unique within a patient.
    tissue
        Key of the uptake and HU tables.
    label
        TotalSegmentator label, 0 where that task has none.
    shapes
        Their union.
    roughness
        How far the smooth field perturbs the level.
    """

    name: str
    tissue: str
    label: int
    shapes: tuple[Shape, ...]
    roughness: float = 0.12


def sized(shape: Ellipsoid, volume_ml: float) -> Ellipsoid:
    """The ellipsoid scaled to a volume, about its centre."""
    return shape.scaled((volume_ml / shape.volume_ml) ** (1 / 3))
