"""From activity to images: resolution, grids, noise, truth, CT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deeppsma import organs
from deeppsma.geometry import Geometry
from deeppsma.images import Volume
from deeppsma.phantom.scanners import Scanner
from deeppsma.resampling import resample, resample_image
from deeppsma.rigid import RigidTransform
from deeppsma.tracer import Tracer

if TYPE_CHECKING:
    import SimpleITK as sitk

_FWHM_PER_SIGMA = 2.3548
#: A voxel is disease where lesions give at least this share of its blurred activity.
LESION_SHARE = 0.4


@dataclass(frozen=True)
class PetScan:
    """One tracer's imaged PET and its truth.

    Parameters
    ----------
    suv
        [z, y, x] float32, SUV.
    truth
        [z, y, x] bool: voxels at or above the threshold that are disease.
    threshold_suv
        3 for PSMA; mean + 2 SD of the imaged liver for FDG.
    geometry
        Grid of both.
    """

    suv: NDArray[np.float32]
    truth: NDArray[np.bool_]
    threshold_suv: float
    geometry: Geometry


def pet_geometry(scanner: Scanner, field_of_view_mm: tuple[float, float], shift_xyz: NDArray) -> Geometry:
    """PET grid of a scan from ``field_of_view_mm[0]`` to ``[1]`` along z."""
    sz, sy, sx = scanner.spacing_zyx
    slices = int((field_of_view_mm[1] - field_of_view_mm[0]) / sz)
    half = (scanner.plane_size - 1) / 2
    origin = (float(shift_xyz[0] - half * sx), float(shift_xyz[1] - half * sy), float(field_of_view_mm[0]))
    return Geometry((slices, scanner.plane_size, scanner.plane_size), scanner.spacing_zyx, origin)


def ct_geometry(scanner: Scanner, pet: Geometry) -> Geometry:
    """CT grid, 512 x 512, that covers the PET's slices and shares its axis."""
    sz, sy, sx = scanner.ct_spacing_zyx
    slices = int(np.ceil(pet.shape_zyx[0] * pet.spacing_zyx[0] / sz))
    centre = pet.index_to_world(np.array([[0, (pet.shape_zyx[1] - 1) / 2, (pet.shape_zyx[2] - 1) / 2]]))[0]
    origin = (float(centre[0] - 255.5 * sx), float(centre[1] - 255.5 * sy), pet.origin_xyz[2])
    return Geometry((slices, 512, 512), scanner.ct_spacing_zyx, origin)


def image_pet(
    tracer: Tracer,
    scene_geometry: Geometry,
    physiological: NDArray[np.float32],
    with_lesions: NDArray[np.float32],
    liver: NDArray[np.bool_],
    grid: Geometry,
    patient_from_scanner: RigidTransform,
    fwhm_mm: float,
    noise_cov: float,
    rng: np.random.Generator,
) -> PetScan:
    """Scan the patient: blur, resample to the scanner's grid, add noise, threshold.

    Parameters
    ----------
    physiological, with_lesions
        Activity in SUV on the scene grid, without and with disease.
    liver
        Liver on the scene grid.
    grid, patient_from_scanner
        PET grid, and the map from its world to the patient's frame.
    fwhm_mm, noise_cov
        Resolution; coefficient of variation at the liver's activity.
    """

    def scan(activity: NDArray[np.float32]) -> NDArray[np.float32]:
        blurred = _blurred(Volume(activity, scene_geometry), fwhm_mm)
        return _array(resample_image(blurred, grid, patient_from_scanner))

    total, without = scan(with_lesions), scan(physiological)
    liver_on_grid = scan(liver.astype(np.float32)) > 0.98
    level = float(total[liver_on_grid].mean()) if liver_on_grid.any() else 2.0
    noise = _noise(grid, fwhm_mm * 0.8, rng)
    # Variance of a reconstructed voxel rises with its activity; air carries little noise.
    noise *= noise_cov * np.sqrt(np.maximum(total, 0) * max(level, 0.1))
    suv = _as_stored(np.maximum(total + noise, 0))
    if tracer is Tracer.PSMA:
        threshold = 3.0
    else:
        values = suv[liver_on_grid]
        threshold = float(values.mean() + 2 * values.std()) if values.size else 3.0
        threshold = round(max(threshold, 1.5), 6)
    lesion = total - without
    truth = (suv >= threshold) & (lesion >= LESION_SHARE * np.maximum(total, 1e-6))
    return PetScan(suv, truth, threshold, grid)


def image_ct(
    scene_geometry: Geometry,
    hounsfield: NDArray[np.float32],
    grid: Geometry,
    patient_from_scanner: RigidTransform,
    rng: np.random.Generator,
) -> NDArray[np.int16]:
    """CT of the patient with noise, HU, [z, y, x]."""
    blurred = _blurred(Volume(hounsfield, scene_geometry), 2.5)
    out = _array(resample_image(blurred, grid, patient_from_scanner, outside=-1000.0))
    # One slice of noise, rolled: white in plane, and a hundred million draws cheaper.
    plane = rng.normal(0, 14, size=grid.shape_zyx[1:]).astype(np.float32)
    for index in range(len(out)):
        out[index] += np.roll(plane, (17 * index, 29 * index), axis=(0, 1))
    return np.clip(np.rint(out), -1024, 3071).astype(np.int16)


def image_organs(
    scene_geometry: Geometry, labels: NDArray[np.uint8], grid: Geometry, patient_from_scanner: RigidTransform
) -> NDArray[np.uint8]:
    """Organ labels on a grid, [z, y, x] uint8."""
    return resample(Volume(labels, scene_geometry), grid, patient_from_scanner, labels=True)


def liver_mask(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Liver of a label map."""
    return np.asarray(labels == organs.LIVER)


def _blurred(volume: Volume, fwhm_mm: float) -> sitk.Image:
    import SimpleITK as sitk

    return sitk.SmoothingRecursiveGaussian(volume.to_sitk(), fwhm_mm / _FWHM_PER_SIGMA)


def _array(image: sitk.Image) -> NDArray:
    import SimpleITK as sitk

    return np.asarray(sitk.GetArrayFromImage(image))


def _noise(grid: Geometry, fwhm_mm: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Noise of unit variance with the texture of a reconstruction, [z, y, x]."""
    white = rng.standard_normal(grid.shape_zyx, dtype=np.float32)
    flat = Geometry(grid.shape_zyx, grid.spacing_zyx)
    noise = _array(_blurred(Volume(white, flat), fwhm_mm))
    return np.asarray(noise / max(float(noise.std()), 1e-6), dtype=np.float32)


def _as_stored(suv: NDArray[np.float32]) -> NDArray[np.float32]:
    """SUV as a scanner's 16 bits hold them: steps of the maximum / 32767."""
    step = np.float32(max(float(suv.max()), 1e-3) / 32767)
    return np.rint(suv / step).astype(np.float32) * step
