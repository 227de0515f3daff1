"""From parts to voxels: the patient on a fine grid of his own frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.box import Box
from deeppsma.core.geometry import Geometry
from deeppsma.core.volume import Volume
from deeppsma.phantom.anatomy.shapes import Part, Shape

#: Tissues that have a cortex around them and in which bone lesions grow.
BONE_TISSUES = ("marrow", "yellow_marrow")
#: How far a patient's smooth warp may move a point, mm: bounding boxes are widened by this.
_WARP_LIMIT_MM, _POSE_LIMIT_MM = 14.0, 7.0
#: Standard deviation of a frame's roughness, before it is clipped at 1.5.
ROUGH_SD = 0.6
#: Interpolating a field of one voxel's smoothness linearly takes this factor from its standard deviation (measured).
_LOST_BY_INTERPOLATION = 1.14
#: Above this height (mm, standard man) head and neck move on their own, over this transition.
_NECK_MM, _NECK_TRANSITION_MM = 640.0, 22.0


@dataclass(frozen=True)
class Scene:
    """Which part lies at each voxel.

    Parameters
    ----------
    geometry
        Fine grid of the patient's frame.
    parts
        Painted in this order: a later part replaces an earlier one.
    part_map
        [z, y, x] uint8: 0 for air, i + 1 for ``parts[i]``.
    """

    geometry: Geometry
    parts: tuple[Part, ...]
    part_map: NDArray[np.uint8]

    def lookup(self, value_of_part: NDArray, air: float) -> NDArray:
        """Image of one value per part."""
        table = np.concatenate([np.array([air], dtype=value_of_part.dtype), value_of_part])
        return np.asarray(table[self.part_map])

    def labels(self) -> NDArray[np.uint8]:
        """TotalSegmentator labels, [z, y, x]."""
        return self.lookup(np.array([part.label for part in self.parts], dtype=np.uint8), 0)

    def bone(self, part_map: NDArray[np.uint8] | None = None) -> NDArray[np.bool_]:
        """Bone with its marrow, [z, y, x]; of another state of the part map, if given."""
        table = np.array([False, *(part.tissue in BONE_TISSUES for part in self.parts)])
        return np.asarray(table[self.part_map if part_map is None else part_map])


@dataclass(frozen=True)
class Frame:
    """Where each scene voxel lies in the standard man, and how rough shapes are there.

    Parameters
    ----------
    geometry
        Scene grid, mm of the patient's own frame.
    x, y, z
        Position in the standard man's frame, mm, [z, y, x] float32.
    rough
        Smooth random field, about -1 to 1, that perturbs the levels of shapes.
    scale_xyz
        Patient's size over the standard man's.
    reach_mm
        How far the warp may move a point.
    """

    geometry: Geometry
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    z: NDArray[np.float32]
    rough: NDArray[np.float32]
    scale_xyz: tuple[float, float, float]
    reach_mm: float = _WARP_LIMIT_MM

    @classmethod
    def draw(cls, geometry: Geometry, scale_xyz: tuple[float, float, float], rng: np.random.Generator) -> Frame:
        """A frame with the patient's own smooth warp (some mm, at 100 mm)."""
        z0, y0, x0 = (
            (geometry.origin_xyz[2 - i] + geometry.spacing_zyx[i] * np.arange(geometry.shape_zyx[i])).astype(np.float32)
            for i in range(3)
        )
        shape = geometry.shape_zyx
        warps = [_clipped(5 * smooth_field(geometry, 100, rng), _WARP_LIMIT_MM) for _ in range(3)]
        x = np.broadcast_to(x0 / np.float32(scale_xyz[0]), shape) + warps[0]
        y = np.broadcast_to((y0 / np.float32(scale_xyz[1]))[:, None], shape) + warps[1]
        z = np.broadcast_to((z0 / np.float32(scale_xyz[2]))[:, None, None], shape) + warps[2]
        rough = _clipped(ROUGH_SD * smooth_field(geometry, 22, rng), 1.5)
        return cls(geometry, x, y, z, rough, scale_xyz)

    def posed(self, head_shift_xyz: tuple[float, float, float], rng: np.random.Generator) -> Frame:
        """The same man lying otherwise: soft tissue shifted by some mm, the head turned elsewhere."""
        neck = 1 / (1 + np.exp(np.clip((_NECK_MM - self.z) / _NECK_TRANSITION_MM, -20, 20)))
        axes = []
        for axis, shift in zip((self.x, self.y, self.z), head_shift_xyz, strict=True):
            axes.append(axis + _clipped(2.5 * smooth_field(self.geometry, 120, rng), _POSE_LIMIT_MM))
            axes[-1] += np.float32(shift) * neck
        reach = self.reach_mm + _POSE_LIMIT_MM + max(abs(shift) for shift in head_shift_xyz)
        return Frame(self.geometry, axes[0], axes[1], axes[2], self.rough, self.scale_xyz, reach)

    def inside(self, shape: Shape, roughness: float) -> tuple[Box, NDArray[np.bool_]]:
        """Voxels inside a shape: a box of the scene and a mask of that box."""
        low, high = shape.bounds()
        reach = self.reach_mm + roughness * 0.8 * float((high - low).max())
        corners = np.stack([low - reach, high + reach]) * np.array(self.scale_xyz)
        index = self.geometry.world_to_index(corners)
        around = Box.around_points(index)
        if around is None:
            raise ValueError("a shape without bounds")
        box = around.clipped(self.geometry.shape_zyx)
        s = box.slices
        level = shape.level(self.x[s], self.y[s], self.z[s])
        return box, level <= 1 + 2 * np.float32(roughness) * self.rough[s]


def paint(frame: Frame, parts: Sequence[Part]) -> Scene:
    """Paint the parts in order."""
    if len(parts) > 254:
        raise ValueError(f"{len(parts)} parts do not fit into 8 bits")
    part_map = np.zeros(frame.geometry.shape_zyx, dtype=np.uint8)
    for number, part in enumerate(parts, start=1):
        for shape in part.shapes:
            box, inside = frame.inside(shape, part.roughness)
            if box.size:
                part_map[box.slices][inside] = number
    return Scene(frame.geometry, tuple(parts), part_map)


def smooth_field(geometry: Geometry, correlation_mm: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Random field of unit variance that is smooth over about ``correlation_mm``, [z, y, x].

    Drawn on a coarse grid and interpolated: cheap, and the same on any machine.
    """
    import SimpleITK as sitk

    step = correlation_mm / 2
    extent = [n * s for n, s in zip(geometry.shape_zyx, geometry.spacing_zyx, strict=True)]
    coarse_shape = [int(e / step) + 4 for e in extent]
    coarse = rng.standard_normal(coarse_shape).astype(np.float32)
    image = Volume(coarse, Geometry(coarse.shape, (step,) * 3)).to_sitk()
    smooth = sitk.DiscreteGaussian(image, (step**2,) * 3)
    field = sitk.GetArrayFromImage(smooth)
    field *= np.float32(_LOST_BY_INTERPOLATION / float(field.std()))
    # Linear interpolation, axis by axis; the long axis last, slice by slice, while slices are in the cache.
    for axis in (2, 1):
        lower, share = _interpolation(geometry, axis, step)
        share = share.reshape([-1 if a == axis else 1 for a in range(3)])
        field = field.take(lower, axis) * (1 - share) + field.take(lower + 1, axis) * share
    out = np.empty(geometry.shape_zyx, dtype=np.float32)
    for index, (low, part) in enumerate(zip(*_interpolation(geometry, 0, step), strict=True)):
        np.multiply(field[low], 1 - part, out=out[index])
        out[index] += field[low + 1] * part
    return out


def _interpolation(geometry: Geometry, axis: int, step_mm: float) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """For each fine voxel along an axis: the coarse voxel below it, and the share of the one above."""
    # One coarse voxel in from the corner, where every fine voxel has neighbours on both sides.
    place = 1 + np.arange(geometry.shape_zyx[axis]) * geometry.spacing_zyx[axis] / step_mm
    lower = place.astype(np.intp)
    return lower, (place - lower).astype(np.float32)


def _clipped(field: NDArray[np.float32], limit: float) -> NDArray[np.float32]:
    return np.clip(field, -limit, limit)
