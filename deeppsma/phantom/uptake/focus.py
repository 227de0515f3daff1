"""Places of raised uptake, cancer or not: what they are and how they are painted."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.box import Box
from deeppsma.core.tracer import Tracer
from deeppsma.phantom.anatomy.scene import ROUGH_SD, Frame, Scene
from deeppsma.phantom.anatomy.shapes import Ellipsoid, Part, Shape

Point = tuple[float, float, float]

_ROUGHNESS = 0.25
#: Standard deviation of log uptake inside a lesion.
_TEXTURE = 0.2
#: Uptake of a dead centre over that of the living rim.
_DEAD = np.float32(0.25)


@dataclass(frozen=True)
class Focus:
    """A place of raised uptake.

    Parameters
    ----------
    kind, site
        What it is ("bone", "unspecific bone uptake") and where (a part's name).
    shapes
        Its union; mm of the standard man's frame.
    suv
        Uptake inside, before the scanner blurs it, by tracer. On a tracer that
        is missing here nothing changes.
    disease
        Whether it is cancer.
    volume_ml
        Volume of what takes up tracer.
    fill
        Share of the shapes that is affected, in patches: below 1 for marrow
        that disease runs through.
    core
        Radius of a dead centre over the lesion's own; ellipsoids only.
    hounsfield
        CT number inside, None where the CT shows nothing.
    in_bone
        Keeps to bone, whatever its shapes.
    """

    kind: str
    site: str
    shapes: tuple[Shape, ...]
    suv: dict[Tracer, float] = field(default_factory=dict)
    disease: bool = False
    volume_ml: float = 0.0
    fill: float = 1.0
    core: float = 0.0
    hounsfield: float | None = None
    in_bone: bool = False

    def __post_init__(self) -> None:
        if not (0 < self.fill <= 1 and 0 <= self.core < 1):
            raise ValueError(f"fill must be in (0, 1] and core in [0, 1), not {self.fill} and {self.core}")
        if self.core and not all(isinstance(shape, Ellipsoid) for shape in self.shapes):
            raise ValueError("only ellipsoids have a core")


class Places:
    """Where something can be in a patient: points inside his parts, and their sizes."""

    def __init__(self, scene: Scene, frame: Frame) -> None:
        self.parts = {part.name: part for part in scene.parts}
        self._frame = frame
        self._numbers = {part.name: number for number, part in enumerate(scene.parts, start=1)}
        flat = scene.part_map.ravel()
        inside = np.flatnonzero(flat)
        self._order = inside[np.argsort(flat[inside], kind="stable")]
        self._starts = np.searchsorted(flat[self._order], np.arange(len(scene.parts) + 2))
        self._voxel_ml = scene.geometry.voxel_volume_ml

    def matching(self, start: str) -> list[Part]:
        """Parts of which something can be seen and whose names start so."""
        return [part for name, part in self.parts.items() if name.startswith(start) and self.volume_ml(name) > 0]

    def volume_ml(self, name: str) -> float:
        """Volume of a part's visible voxels, ml; 0 where the man has no such part."""
        return self._voxel_ml * (self._last(name) - self._first(name))

    def point_in(self, name: str, rng: np.random.Generator) -> Point:
        """A random point inside a part, mm of the standard man's frame."""
        voxel = self._order[rng.integers(self._first(name), self._last(name))]
        x, y, z = (float(axis.ravel()[voxel]) for axis in (self._frame.x, self._frame.y, self._frame.z))
        return x, y, z

    def _first(self, name: str) -> int:
        return int(self._starts[self._numbers[name]]) if name in self._numbers else 0

    def _last(self, name: str) -> int:
        return int(self._starts[self._numbers[name] + 1]) if name in self._numbers else 0


def blob(point: Point, volume_ml: float, rng: np.random.Generator, stretch: float = 0.2) -> Ellipsoid:
    """An ellipsoid of a volume around a point, longer one way than another."""
    radius = (volume_ml * 1000 * 3 / (4 * math.pi)) ** (1 / 3)
    factors = np.exp(rng.normal(0, stretch, size=3))
    a, b, c = (float(v) for v in radius * factors / np.prod(factors) ** (1 / 3))
    turn = [float(v) for v in rng.uniform(0, 180, size=3)]
    return Ellipsoid(point, (a, b, c), (turn[0], turn[1], turn[2]))


def add_uptake(
    activity: NDArray[np.float32], frame: Frame, focus: Focus, tracer: Tracer, bone: NDArray[np.bool_], version: int = 3
) -> None:
    """Raise the activity, [z, y, x] SUV, where the focus takes up the tracer.

    ``bone`` as in `affected`. In version 2 the dead centre of a bone lesion
    reached out of its bone.
    """
    if tracer not in focus.suv:
        return
    level = np.float32(focus.suv[tracer])
    for shape in focus.shapes:
        box, inside = affected(frame, focus, shape, bone)
        if not box.size:
            continue
        view = activity[box.slices]
        textured = level * np.exp(np.float32(_TEXTURE / ROUGH_SD) * frame.rough[box.slices][inside])
        view[inside] = np.maximum(view[inside], textured)
        if focus.core and isinstance(shape, Ellipsoid):
            core_box, core = frame.inside(shape.scaled(focus.core), _ROUGHNESS)
            if version > 2 and focus.in_bone and core_box.size:
                core &= bone[core_box.slices]
            activity[core_box.slices][core] = _DEAD * level


def add_density(hounsfield: NDArray[np.float32], frame: Frame, focus: Focus, bone: NDArray[np.bool_]) -> None:
    """Set the CT number, [z, y, x] HU, where the focus shows on CT; ``bone`` as in `affected`."""
    if focus.hounsfield is None:
        return
    for shape in focus.shapes:
        box, inside = affected(frame, focus, shape, bone)
        if box.size:
            hounsfield[box.slices][inside] = focus.hounsfield


def with_volume(focus: Focus, frame: Frame, bone: NDArray[np.bool_], version: int = 3) -> Focus:
    """The focus with the volume that it fills in this man, ml; ``bone`` as in `affected`.

    Where its shapes overlap, they count once; in version 2, twice.
    """
    filled = [affected(frame, focus, shape, bone) for shape in focus.shapes]
    voxels = sum(int(inside.sum()) for _, inside in filled)
    if version > 2 and len(filled) > 1:
        voxels = _in_any(filled)
    return replace(focus, volume_ml=voxels * frame.geometry.voxel_volume_ml)


def _in_any(filled: list[tuple[Box, NDArray[np.bool_]]]) -> int:
    """How many voxels lie in one or more of several masks of boxes of one grid."""
    boxes = [box for box, _ in filled if box.size]
    if not boxes:
        return 0
    around = boxes[0]
    for box in boxes[1:]:
        around = around.union(box)
    union = np.zeros(around.shape_zyx, dtype=bool)
    for box, inside in filled:
        if box.size:
            union[box.relative_to(around).slices] |= inside
    return int(union.sum())


def affected(frame: Frame, focus: Focus, shape: Shape, bone: NDArray[np.bool_]) -> tuple[Box, NDArray[np.bool_]]:
    """Voxels of one of a focus's shapes that are affected: a box of the scene and a mask of that box.

    ``bone``, [z, y, x] bool, is where bone lesions can spread.
    """
    box, inside = frame.inside(shape, _ROUGHNESS)
    if box.size:
        inside &= _patches(frame.rough[box.slices], focus.fill)
        if focus.in_bone:
            inside &= bone[box.slices]
    return box, inside


def _patches(rough: NDArray[np.float32], fill: float) -> NDArray[np.bool_]:
    """Where a smooth normal field lies in its upper ``fill``."""
    from scipy.special import ndtri

    return np.asarray(rough >= np.float32(ROUGH_SD * ndtri(1 - fill))) if fill < 1 else np.ones(rough.shape, bool)
