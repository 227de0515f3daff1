"""From activity to a PET: resolution, grid, artefacts, noise, truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.box import Box
from deeppsma.core.geometry import Geometry
from deeppsma.core.resampling import resample_image
from deeppsma.core.tracer import Tracer
from deeppsma.core.transforms import RigidTransform
from deeppsma.core.volume import Volume
from deeppsma.phantom.scan.noise import FWHM_PER_SIGMA, noisy
from deeppsma.phantom.scan.scanners import Scanner
from deeppsma.phantom.uptake.radioligand import Radioligand

if TYPE_CHECKING:
    import SimpleITK as sitk

#: A voxel is disease where lesions give at least this share of its blurred activity.
LESION_SHARE = 0.4
#: Nobody outlines less than this.
SMALLEST_OUTLINE_ML = 0.06
#: Activity (SUV) from which scatter correction may fail around it, and how far its halo reaches.
_HALO_SUV, _HALO_FWHM_MM = 25.0, 70.0


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
        3 for PSMA; for FDG mean + 2 SD of the imaged liver, at least 1.5, or
        3 where no liver is in view.
    geometry
        Grid of both.
    """

    suv: NDArray[np.float32]
    truth: NDArray[np.bool_]
    threshold_suv: float
    geometry: Geometry


@dataclass(frozen=True)
class Exposure:
    """How one PET is measured.

    Parameters
    ----------
    scanner, ligand
        Where and with what.
    grid, patient_from_scanner
        PET grid, and the map from its world to the patient's frame.
    liver_cov
        Noise in the liver, mid-bed.
    halo
        Strength of a cold halo around very hot uptake (urine above all), from
        failed scatter correction; 0 for none.
    """

    scanner: Scanner
    ligand: Radioligand
    grid: Geometry
    patient_from_scanner: RigidTransform
    liver_cov: float
    halo: float = 0.0


def pet_geometry(scanner: Scanner, field_of_view_mm: tuple[float, float], shift_xyz: NDArray) -> Geometry:
    """PET grid of a scan from ``field_of_view_mm[0]`` to ``[1]`` along z."""
    sz, sy, sx = scanner.spacing_zyx
    slices = int((field_of_view_mm[1] - field_of_view_mm[0]) / sz)
    half = (scanner.plane_size - 1) / 2
    origin = (float(shift_xyz[0] - half * sx), float(shift_xyz[1] - half * sy), float(field_of_view_mm[0]))
    return Geometry((slices, scanner.plane_size, scanner.plane_size), scanner.spacing_zyx, origin)


def image_pet(
    scene_geometry: Geometry,
    physiological: NDArray[np.float32],
    with_lesions: NDArray[np.float32],
    liver: NDArray[np.bool_],
    exposure: Exposure,
    rng: np.random.Generator,
) -> PetScan:
    """Scan the patient: blur, resample to the scanner's grid, add noise, threshold.

    Parameters
    ----------
    scene_geometry
        Grid of the next three.
    physiological, with_lesions
        Activity in SUV, [z, y, x], without and with disease.
    liver
        Healthy liver, [z, y, x].
    exposure
        Where and how.
    rng
        Source of the noise.
    """
    kernel = point_spread(exposure.scanner, exposure.ligand)

    def scan(activity: NDArray[np.float32], box: Box) -> NDArray[np.float32]:
        image = Volume(activity[box.slices], scene_geometry.cropped(box)).to_sitk()
        return _array(resample_image(spread(image, kernel), exposure.grid, exposure.patient_from_scanner))

    total = scan(with_lesions, Box.whole(scene_geometry.shape_zyx))
    lesions = with_lesions - physiological
    around = Box.around_mask(lesions > 0)
    margin = int(np.ceil(3 * exposure.scanner.fwhm_mm / min(scene_geometry.spacing_zyx)))
    lesion = scan(lesions, around.grown((margin,) * 3).clipped(lesions.shape)) if around else np.zeros_like(total)
    if exposure.halo:
        shade = _halo(total, exposure)
        total, lesion = total * shade, lesion * shade
    np.maximum(total, 0, out=total)
    in_liver = _well_inside(liver, scene_geometry, exposure)
    level = float(total[in_liver].mean()) if in_liver.any() else 2.0
    fwhm = exposure.scanner.fwhm_mm
    suv = _as_stored(noisy(total, exposure.grid, exposure.scanner, exposure.liver_cov, level, fwhm, rng))
    threshold = 3.0
    if exposure.ligand.tracer is Tracer.FDG and in_liver.any():
        values = suv[in_liver]
        threshold = round(max(float(values.mean() + 2 * values.std()), 1.5), 6)
    diseased = lesion >= LESION_SHARE * np.maximum(total, 1e-6)
    truth = outlined((suv >= threshold) & diseased, exposure.grid.voxel_volume_ml)
    return PetScan(suv, truth, threshold, exposure.grid)


def point_spread(scanner: Scanner, ligand: Radioligand) -> tuple[tuple[float, float], ...]:
    """Weights and widths (FWHM, mm) of the Gaussians whose sum is a point's image; the weights sum to 1.

    A narrow one for detector and reconstruction; a wide one for the tails of
    the positron's range; a wide negative one for the overshoot of resolution
    modelling.
    """
    fwhm, over, tail = scanner.fwhm_mm, scanner.overshoot, ligand.tail_share
    terms = [((1 - tail) * (1 + over), fwhm)]
    if over:
        terms.append((-(1 - tail) * over, 1.8 * fwhm))
    if tail:
        terms.append((tail, float(np.hypot(fwhm, ligand.tail_fwhm_mm))))
    return tuple(terms)


def spread(image: sitk.Image, kernel: tuple[tuple[float, float], ...]) -> sitk.Image:
    """Blur an image by a sum of Gaussians: weights and FWHM, mm."""
    import SimpleITK as sitk

    total: sitk.Image | None = None
    for weight, fwhm in kernel:
        blurred = sitk.SmoothingRecursiveGaussian(image, fwhm / FWHM_PER_SIGMA)
        if len(kernel) == 1:
            return blurred
        blurred *= weight
        total = blurred if total is None else total + blurred
    return total


def outlined(hot_disease: NDArray[np.bool_], voxel_ml: float) -> NDArray[np.bool_]:
    """Disease as a reader outlines it: connected voxels, without specks that nobody clicks on.

    Parameters
    ----------
    hot_disease
        [z, y, x]; may be empty.
    voxel_ml
        Volume of a voxel, ml.
    """
    from scipy.ndimage import generate_binary_structure, label

    box = Box.around_mask(hot_disease)
    if box is None:
        return hot_disease
    labels, count = label(hot_disease[box.slices], generate_binary_structure(3, 3))
    kept = np.bincount(labels.ravel(), minlength=count + 1) * voxel_ml >= SMALLEST_OUTLINE_ML
    kept[0] = False
    out = np.zeros_like(hot_disease)
    out[box.slices] = kept[labels]
    return out


def _well_inside(mask: NDArray[np.bool_], scene_geometry: Geometry, exposure: Exposure) -> NDArray[np.bool_]:
    """A scene's mask on the PET's grid, clear of its edges, as a reader's sphere is."""
    around = Box.around_mask(mask)
    if around is None:
        return np.zeros(exposure.grid.shape_zyx, dtype=bool)
    box = around.grown((4, 4, 4)).clipped(mask.shape)
    image = Volume(mask[box.slices].astype(np.float32), scene_geometry.cropped(box)).to_sitk()
    blurred = spread(image, ((1.0, 12.0),))
    return _array(resample_image(blurred, exposure.grid, exposure.patient_from_scanner)) > np.float32(0.98)


def _halo(suv: NDArray[np.float32], exposure: Exposure) -> NDArray[np.float32]:
    """Factor below 1 around very hot uptake: too much scatter was subtracted there."""
    shade = np.ones(suv.shape, dtype=np.float32)
    hot = Box.around_mask(suv > _HALO_SUV)
    if hot is None:
        return shade
    reach_z, reach_y, reach_x = (int(np.ceil(1.2 * _HALO_FWHM_MM / s)) for s in exposure.grid.spacing_zyx)
    box = hot.grown((reach_z, reach_y, reach_x)).clipped(suv.shape)
    inside = suv[box.slices]
    source = Volume(np.maximum(inside - np.float32(_HALO_SUV), 0), exposure.grid.cropped(box)).to_sitk()
    around = _array(spread(source, ((1.0, _HALO_FWHM_MM),)))
    around *= (inside < _HALO_SUV / 2) / max(float(around.max()), 1e-6)
    shade[box.slices] -= np.float32(exposure.halo) * around
    return shade


def _array(image: sitk.Image) -> NDArray:
    import SimpleITK as sitk

    return np.asarray(sitk.GetArrayFromImage(image))


def _as_stored(suv: NDArray[np.float32]) -> NDArray[np.float32]:
    """SUV as a scanner's 16 bits hold them: steps of the maximum / 32767."""
    step = np.float32(max(float(suv.max()), 1e-3) / 32767)
    return np.rint(suv / step).astype(np.float32) * step
