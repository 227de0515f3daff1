"""The CT of a patient: densities, bone's cortex, contrast agent, metal, table, noise, field of view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.geometry import Geometry
from deeppsma.core.resampling import resample_image
from deeppsma.core.transforms import RigidTransform
from deeppsma.core.volume import Volume
from deeppsma.phantom.anatomy.scene import Frame, Scene
from deeppsma.phantom.scan.imaging import spread
from deeppsma.phantom.scan.scanners import Scanner
from deeppsma.phantom.uptake.focus import Focus, add_density
from deeppsma.phantom.uptake.physiology import tables

_AIR_HU, _LOWEST_HU, _HIGHEST_HU = -1000.0, -1024, 3071
#: Voxels along y and x of a CT slice.
CT_PLANE = 512
#: Resolution of the CT as it is used with a PET, mm; noise of a low-dose CT, HU.
_FWHM_MM, _NOISE_HU = 2.5, 16.0
#: Denser than any bone.
_METAL_HU = 2500
#: Share of CTs with contrast agent (an estimate).
_CONTRAST = 0.1
#: The table's top lies this far behind the standard man's middle; thickness and half width, mm.
_TABLE_MM, _TABLE_THICKNESS_MM, _TABLE_HALF_WIDTH_MM, _TABLE_HU = 128.0, 9.0, 200.0, -650.0


@dataclass(frozen=True)
class CtOptions:
    """How one CT was taken.

    Parameters
    ----------
    contrast
        With contrast agent, portal phase.
    dose
        Noise goes with one over its square root; 1 for a low-dose CT.
    liver_hu
        How much denser the liver is than usual; fat makes it less so.
    """

    contrast: bool
    dose: float
    liver_hu: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> CtOptions:
        """One session's: contrast agent in some."""
        return cls(bool(rng.random() < _CONTRAST), float(rng.lognormal(0, 0.4)), -float(rng.gamma(1.2, 9)))


def ct_geometry(scanner: Scanner, pet: Geometry) -> Geometry:
    """CT grid, `CT_PLANE` voxels in plane, that covers the PET's slices and shares its axis."""
    sz, sy, sx = scanner.ct_spacing_zyx
    slices = int(np.ceil(pet.shape_zyx[0] * pet.spacing_zyx[0] / sz))
    centre = pet.index_to_world(np.array([[0, (pet.shape_zyx[1] - 1) / 2, (pet.shape_zyx[2] - 1) / 2]]))[0]
    half = (CT_PLANE - 1) / 2
    origin = (float(centre[0] - half * sx), float(centre[1] - half * sy), pet.origin_xyz[2])
    return Geometry((slices, CT_PLANE, CT_PLANE), scanner.ct_spacing_zyx, origin)


def densities(
    scene: Scene, part_map: NDArray[np.uint8], frame: Frame, foci: Sequence[Focus], options: CtOptions
) -> NDArray[np.float32]:
    """CT numbers on the scene's grid, [z, y, x] HU, before the scanner.

    Parameters
    ----------
    scene, frame, foci
        The man, where he lies, what shows on his CT.
    part_map
        [z, y, x] uint8: the scene's, as it stood during the CT.
    options
        Contrast agent.
    """
    content = tables()
    table = {**content["hounsfield"], **(content["contrast"] if options.contrast else {})}
    of_part = [table.get(part.tissue, table["soft_tissue"]) for part in scene.parts]
    values = np.array([_AIR_HU, *of_part], dtype=np.float32)[part_map]
    values[np.array([False, *(part.tissue == "liver" for part in scene.parts)])[part_map]] += options.liver_hu
    bone = scene.bone(part_map)
    values[bone & ~_eroded(bone)] = table["cortex"]
    for focus in foci:
        add_density(values, frame, focus, bone)
    table_top = (frame.y > _TABLE_MM) & (frame.y < _TABLE_MM + _TABLE_THICKNESS_MM)
    table_top &= (np.abs(frame.x) < _TABLE_HALF_WIDTH_MM) & (part_map == 0)
    values[table_top] = _TABLE_HU
    return values


def image_ct(
    scene_geometry: Geometry,
    hounsfield: NDArray[np.float32],
    grid: Geometry,
    patient_from_scanner: RigidTransform,
    field_of_view_mm: float,
    options: CtOptions,
    rng: np.random.Generator,
) -> NDArray[np.int16]:
    """CT of the patient, HU, [z, y, x] int16.

    Parameters
    ----------
    scene_geometry, hounsfield
        Densities on the scene's grid.
    grid, patient_from_scanner
        Grid to make it on, and the map from its world to the patient's frame.
    field_of_view_mm
        Diameter of what the CT sees; outside there is nothing.
    options, rng
        Dose; source of the noise.
    """
    import SimpleITK as sitk

    image = Volume(hounsfield, scene_geometry).to_sitk()
    resampled = resample_image(spread(image, ((1.0, _FWHM_MM),)), grid, patient_from_scanner, outside=_AIR_HU)
    out = np.asarray(sitk.GetArrayFromImage(resampled))
    centre = (np.array(grid.shape_zyx[1:]) - 1) / 2
    y, x = np.ogrid[: grid.shape_zyx[1], : grid.shape_zyx[2]]
    radius = np.hypot((y - centre[0]) * grid.spacing_zyx[1], (x - centre[1]) * grid.spacing_zyx[2])
    seen = radius <= field_of_view_mm / 2
    # One slice of noise, rolled: white in plane, and a hundred million draws cheaper.
    plane = rng.normal(0, _NOISE_HU / np.sqrt(options.dose), size=grid.shape_zyx[1:]).astype(np.float32)
    for index in range(len(out)):
        dense = float((out[index] > -300).mean()) ** 0.5 * 2.2  # more body, more noise
        out[index] += np.roll(plane, (17 * index, 29 * index), axis=(0, 1)) * np.float32(max(dense, 0.3))
        if (out[index] > _METAL_HU).any():
            out[index] += _streaks(out[index], grid, rng)
        out[index][~seen] = _LOWEST_HU
    return np.clip(np.rint(out), _LOWEST_HU, _HIGHEST_HU).astype(np.int16)


def _streaks(hounsfield: NDArray[np.float32], grid: Geometry, rng: np.random.Generator) -> NDArray[np.float32]:
    """Bright and dark rays from the metal of one slice."""
    my, mx = (float(c.mean()) for c in np.nonzero(hounsfield > _METAL_HU))
    y, x = np.ogrid[: hounsfield.shape[0], : hounsfield.shape[1]]
    dy, dx = (y - my) * grid.spacing_zyx[1], (x - mx) * grid.spacing_zyx[2]
    angle, distance = np.arctan2(dy, dx), np.hypot(dy, dx)
    rays = np.sin(11 * angle + rng.uniform(0, 6)) + np.sin(23 * angle + rng.uniform(0, 6)) - 1.2 * np.cos(2 * angle)
    return np.asarray(110 * rays * np.exp(-distance / 70) * (distance > 12), dtype=np.float32)


def _eroded(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Voxels whose six neighbours all belong."""
    inner = mask.copy()
    for axis in range(3):
        for step in (1, -1):
            inner &= np.roll(mask, step, axis=axis)
    return inner
