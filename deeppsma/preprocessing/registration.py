"""Rigid registration of the two sessions, CT to CT, with its quality measured and failure found.

Bones hold still between two days, organs and arms do not: only the bones of the trunk count. Starts are found by
correlating both scans' bones over all shifts at once. From the best few shifts, each with several turns, points of the
fixed bones are fitted to the distance map of the moving ones, which takes a tenth of a second each. The best two ends
are refined on the CTs themselves. What two starts do not agree on, or what puts bone on no bone, is a failure, which
the caller has to handle; a wrong transform would mark disease at a wrong place.

Thresholds of failure were set on synthetic patients and on CTs with real organ shapes and known offsets; on pairs of
real scans of two days they are unproven.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.anatomy import HIP_LEFT, HIP_RIGHT, RIBS_LEFT, RIBS_RIGHT, SACRUM, STERNUM, VERTEBRAE
from deeppsma.core.box import Box
from deeppsma.core.geometry import Geometry
from deeppsma.core.resampling import resample_image
from deeppsma.core.transforms import RigidTransform
from deeppsma.core.volume import Volume

if TYPE_CHECKING:
    import SimpleITK as sitk

TRUNK_SKELETON = (SACRUM, *VERTEBRAE, HIP_LEFT, HIP_RIGHT, *RIBS_LEFT, *RIBS_RIGHT, STERNUM)
#: Voxels of the fine and the coarse images, about, mm.
FINE_MM, COARSE_MM = 4.0, 8.0
#: Values beyond are air, or metal.
CLAMP_HU = (-200.0, 1000.0)
#: Bone where there is no organ map: denser than soft tissue with contrast medium.
BONE_HU = 200.0
#: The fit of bone points: how many, beyond which distance a bone is another one, turns of the starts, degrees.
POINTS, DISTANCE_MAX_MM, TURNS_DEG = 1500, 60.0, (12.0, -12.0)
#: Share of the voxels that the fine metric looks at.
SAMPLED = 0.2
#: Around the bones there must be something to tell them from.
MARGIN_MM = 8.0
#: How many shifts are tried, and how far apart they must be, mm.
STARTS, STARTS_APART_MM = 4, 40.0
#: Beyond these a registration has failed.
CORRELATION_MIN = 0.6
BONE_DICE_MIN = 0.4
ROTATION_MAX_DEG = 35.0
OVERLAP_MIN = 0.3
AGREEMENT_MAX_MM = 3.0
#: A fixed number of threads adds the metric up in the same order on every machine.
_THREADS = 2


@dataclass(frozen=True)
class RegistrationQuality:
    """Figures that tell a registration from a failure.

    Parameters
    ----------
    correlation
        Of both CTs over the fixed bones and a margin, 1 for equal.
    bone_dice
        Dice of both bone masks where both scans see.
    rotation_deg
        Angle of the rotation.
    overlap
        Share of the fixed bones that the moving scan sees.
    agreement_mm
        How far apart the results of the two best starts put the fixed bones, at most; infinite where only one start
        came to anything.
    """

    correlation: float
    bone_dice: float
    rotation_deg: float
    overlap: float
    agreement_mm: float

    @property
    def failure(self) -> str:
        """Why the result must not be used; "" where it may."""
        checks = (
            (self.correlation >= CORRELATION_MIN, f"correlation {self.correlation:.2f} < {CORRELATION_MIN:g}"),
            (self.bone_dice >= BONE_DICE_MIN, f"bones overlap by {self.bone_dice:.2f} < {BONE_DICE_MIN:g}"),
            (self.rotation_deg <= ROTATION_MAX_DEG, f"turned by {self.rotation_deg:.0f} degrees"),
            (self.overlap >= OVERLAP_MIN, f"only {100 * self.overlap:.0f} % of the bones are in both scans"),
            (self.agreement_mm <= AGREEMENT_MAX_MM, f"two starts end {self.agreement_mm:.1f} mm apart"),
        )
        return ", ".join(said for good, said in checks if not good)

    def describe(self) -> str:
        """One line."""
        return (
            f"correlation {self.correlation:.3f}, bones overlap by {self.bone_dice:.2f} (Dice), turned by "
            f"{self.rotation_deg:.1f} degrees, two starts agree to {self.agreement_mm:.1f} mm"
        )


@dataclass(frozen=True)
class Registration:
    """What came out.

    Parameters
    ----------
    transform
        Maps a point of the fixed session to the moving one; only to be used where ``quality.failure`` is empty.
    quality
        Figures.
    """

    transform: RigidTransform
    quality: RegistrationQuality


@dataclass(frozen=True)
class _Scan:
    """A CT made small: values, bones, and the mask around them, on one grid."""

    image: sitk.Image
    bones: NDArray[np.bool_]

    @property
    def geometry(self) -> Geometry:
        return Geometry.from_sitk(self.image)

    def bone_points(self) -> NDArray[np.float64]:
        return self.geometry.index_to_world(np.argwhere(self.bones))


def register(
    fixed: Volume, moving: Volume, fixed_organs: Volume | None = None, moving_organs: Volume | None = None
) -> Registration:
    """Rigid transform from the fixed session to the moving one.

    Parameters
    ----------
    fixed, moving
        CTs in HU.
    fixed_organs, moving_organs
        TotalSegmentator label maps, or None: then bones are what is dense. Both maps or none are used, as a skeleton
        with arms does not fit one without.

    Returns
    -------
    Registration
        With its quality. Where a scan has no bone, the quality says failure.
    """
    mapped = fixed_organs is not None and moving_organs is not None
    fine = (
        _scan(fixed, fixed_organs if mapped else None, FINE_MM),
        _scan(moving, moving_organs if mapped else None, FINE_MM),
    )
    if not fine[0].bones.any() or not fine[1].bones.any():
        return Registration(RigidTransform(), RegistrationQuality(0.0, 0.0, 0.0, 0.0, math.inf))
    centre = fine[0].bone_points().mean(axis=0)
    starts = _fitted_starts(fine[0], fine[1], centre)
    refined = [_optimise(fine[0], fine[1], start) for start in starts]
    refined.sort(key=lambda result: result[0])
    best = _plain(refined[0][1])
    others = [_plain(transform) for _, transform in refined[1:]]
    # ITK's correlation metric is the negative square.
    correlation = math.sqrt(max(0.0, -refined[0][0]))
    return Registration(best, _measure(fine[0], fine[1], best, others, correlation))


def _scan(ct: Volume, organs: Volume | None, size_mm: float) -> _Scan:
    import SimpleITK as sitk

    image = _shrunk(ct, size_mm)
    grid = Geometry.from_sitk(image)
    values = sitk.GetArrayFromImage(image)
    if organs is not None:
        skeleton = np.isin(organs.voxels, TRUNK_SKELETON).astype(np.float32)
        share = sitk.GetArrayFromImage(
            resample_image(_shrunk(Volume(skeleton, organs.geometry), size_mm), grid, RigidTransform())
        )
        bones = share > 0.5
    else:
        bones = _body(values, grid) & (values > BONE_HU)
    low, high = CLAMP_HU
    return _Scan(sitk.Clamp(image, sitk.sitkFloat32, low, high), bones)


def _shrunk(volume: Volume, size_mm: float) -> sitk.Image:
    """Means over blocks of voxels, as float32."""
    import SimpleITK as sitk

    factors = [max(1, round(size_mm / spacing)) for spacing in volume.geometry.spacing_zyx[::-1]]
    image = volume.to_sitk()
    if image.GetPixelID() != sitk.sitkFloat32:
        image = sitk.Cast(image, sitk.sitkFloat32)
    return sitk.BinShrink(image, factors)


def _body(values: NDArray, grid: Geometry) -> NDArray[np.bool_]:
    """The largest thing that is no air; the table lies apart after an opening, or is thin."""
    from scipy import ndimage

    solid = ndimage.binary_opening(values > -300, iterations=max(1, round(6 / min(grid.spacing_zyx))))
    labels, count = ndimage.label(solid)
    if count == 0:
        return np.zeros(values.shape, dtype=bool)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(labels == sizes.argmax())


def _shifts(fixed: _Scan, moving: _Scan) -> list[NDArray[np.float64]]:
    """The shifts that lay the fixed bones on the moving ones best, by correlation over all shifts at once."""
    from scipy import fft, ndimage

    step = COARSE_MM
    clouds = [scan.bone_points() for scan in (fixed, moving)]
    low = [cloud.min(axis=0) for cloud in clouds]
    sizes = [
        np.ceil((cloud.max(axis=0) - start) / step).astype(int) + 1 for cloud, start in zip(clouds, low, strict=True)
    ]
    shape = [fft.next_fast_len(int(a + b)) for a, b in zip(*sizes, strict=True)]
    grids = []
    for cloud, start in zip(clouds, low, strict=True):
        grid = np.zeros(shape, dtype=np.float32)
        index = np.floor((cloud - start) / step).astype(int)
        grid[tuple(index.T)] = 1.0
        # A turn of some degrees moves bones by centimetres: blurred bones still meet.
        grids.append(ndimage.gaussian_filter(grid, 1.5, mode="constant"))
    spectrum = np.conj(fft.rfftn(grids[0])) * fft.rfftn(grids[1])
    score = fft.irfftn(spectrum, s=shape)
    shifts: list[NDArray[np.float64]] = []
    while len(shifts) < STARTS and score.max() > 0:
        peak = np.array(np.unravel_index(int(score.argmax()), score.shape))
        lag = np.where(peak > np.array(shape) // 2, peak - np.array(shape), peak)
        shifts.append(lag * step + low[1] - low[0])
        reach = int(STARTS_APART_MM / step)
        near = np.ix_(*(np.arange(p - reach, p + reach + 1) % n for p, n in zip(peak, shape, strict=True)))
        score[near] = 0
    return shifts


def _fitted_starts(fixed: _Scan, moving: _Scan, centre: NDArray) -> list[sitk.Euler3DTransform]:
    """The two ends that bone points fit best, from all shifts and turns; the second began elsewhere than the first."""
    points = fixed.bone_points()
    points = points[:: max(1, len(points) // POINTS)]
    grid, distance_mm = _distance_map(moving)
    turns = [np.zeros(3), *(turn * axis for axis in np.eye(3) for turn in TURNS_DEG)]
    fitted = [
        _fit(points, centre, grid, distance_mm, np.concatenate([np.deg2rad(turn), shift]))
        for shift in _shifts(fixed, moving)
        for turn in turns
    ]
    fitted.sort(key=lambda fit: fit[0])
    return [_euler(centre, parameters) for _, parameters in fitted[:2]]


def _distance_map(scan: _Scan) -> tuple[Geometry, NDArray[np.float32]]:
    """Distance to the nearest bone, mm, on a coarse grid with room around it."""
    from scipy import ndimage

    factors = [max(1, round(COARSE_MM / spacing)) for spacing in scan.geometry.spacing_zyx]
    room = [int(DISTANCE_MAX_MM / (f * s)) for f, s in zip(factors, scan.geometry.spacing_zyx, strict=True)]
    padding = [(r * f, r * f + (-n) % f) for r, f, n in zip(room, factors, scan.bones.shape, strict=True)]
    padded = np.pad(scan.bones, padding)
    z, y, x = (n // f for n, f in zip(padded.shape, factors, strict=True))
    blocks = padded.reshape(z, factors[0], y, factors[1], x, factors[2]).any(axis=(1, 3, 5))
    around = scan.geometry.cropped(Box.whole(scan.geometry.shape_zyx).grown(tuple(p[0] for p in padding)))  # type: ignore[arg-type]
    grid = replace(around.coarsened((factors[0], factors[1], factors[2])), shape_zyx=(z, y, x))
    distance = ndimage.distance_transform_edt(~blocks, sampling=grid.spacing_zyx)
    return grid, np.minimum(distance, DISTANCE_MAX_MM).astype(np.float32)


def _fit(
    points: NDArray, centre: NDArray, grid: Geometry, distance_mm: NDArray, start: NDArray
) -> tuple[float, NDArray[np.float64]]:
    """Cost, and three angles (radians) and three shifts (mm), of points laid on a distance map."""
    from scipy import ndimage, optimize

    into = np.linalg.inv(grid.world_from_index)

    def distances(parameters: NDArray) -> NDArray:
        # ITK's order of the three rotations; any other would do as well.
        matrix = rotation_matrix_zxy(parameters[:3])
        world = (points - centre) @ matrix.T + centre + parameters[3:]
        index = world @ into[:3, :3].T + into[:3, 3]
        return np.asarray(ndimage.map_coordinates(distance_mm, index.T, order=1, mode="nearest"))

    scale = np.array([0.01, 0.01, 0.01, 3.0, 3.0, 3.0])
    found = optimize.least_squares(distances, start, loss="soft_l1", f_scale=COARSE_MM, x_scale=scale, max_nfev=25)
    return float(found.cost), np.asarray(found.x)


def rotation_matrix_zxy(angles_rad: NDArray) -> NDArray[np.float64]:
    """ITK's Euler rotation, Z X Y: about y first, then x, then z; radians about x, y, z."""
    (sx, sy, sz), (cx, cy, cz) = np.sin(angles_rad), np.cos(angles_rad)
    rx = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    ry = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    rz = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.asarray(rz @ rx @ ry)


def _euler(centre: NDArray, parameters: NDArray) -> sitk.Euler3DTransform:
    import SimpleITK as sitk

    out = sitk.Euler3DTransform()
    out.SetCenter([float(c) for c in centre])
    out.SetParameters([float(value) for value in parameters])
    return out


def _optimise(fixed: _Scan, moving: _Scan, start: sitk.Euler3DTransform) -> tuple[float, sitk.Euler3DTransform]:
    """Metric (less is better; 0 where the optimiser got nowhere) and transform."""
    import SimpleITK as sitk
    from scipy import ndimage

    around = ndimage.binary_dilation(fixed.bones, iterations=max(1, round(MARGIN_MM / min(fixed.geometry.spacing_zyx))))
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(_THREADS)
    method.SetMetricAsCorrelation()
    method.SetMetricFixedMask(Volume(around, fixed.geometry).to_sitk())
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(SAMPLED, 1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=2.0, minStep=0.02, numberOfIterations=40, relaxationFactor=0.6, gradientMagnitudeTolerance=1e-5
    )
    method.SetOptimizerScalesFromPhysicalShift()
    transform = sitk.Euler3DTransform(start)
    method.SetInitialTransform(transform, inPlace=True)
    try:
        method.Execute(fixed.image, moving.image)
    except RuntimeError:  # too little overlap
        return 0.0, sitk.Euler3DTransform(start)
    value: Any = method.GetMetricValue()
    return (float(value) if math.isfinite(value) else 0.0), transform


def _plain(transform: sitk.Euler3DTransform) -> RigidTransform:
    return RigidTransform(tuple(transform.GetMatrix()), tuple(transform.GetTranslation()), tuple(transform.GetCenter()))


def _measure(
    fixed: _Scan, moving: _Scan, best: RigidTransform, others: Sequence[RigidTransform], correlation: float
) -> RegistrationQuality:
    import SimpleITK as sitk

    points = fixed.bone_points()
    mapped = moving.geometry.world_to_index(best.apply(points))
    inside = ((mapped > -0.5) & (mapped < np.array(moving.bones.shape) - 0.5)).all(axis=1)
    image = Volume(moving.bones.astype(np.float32), moving.geometry).to_sitk()
    moved = sitk.GetArrayFromImage(resample_image(image, fixed.geometry, best, outside=-1.0))
    seen = moved >= 0
    there, here = moved > 0.5, fixed.bones & seen
    total = int(there.sum()) + int(here.sum())
    dice = 2 * int((there & here).sum()) / total if total else 0.0
    angle = math.degrees(math.acos(np.clip((np.trace(best.rotation_matrix) - 1) / 2, -1, 1)))
    apart = [float(np.linalg.norm(best.apply(points) - other.apply(points), axis=1).max()) for other in others]
    return RegistrationQuality(correlation, dice, angle, float(inside.mean()), min(apart, default=math.inf))
