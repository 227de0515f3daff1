"""Registration of two CTs: known offsets are found again, and what is no pair is a failure."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from deeppsma.core.anatomy import HIP_LEFT, VERTEBRAE
from deeppsma.core.geometry import Geometry
from deeppsma.core.transforms import rotation_matrix
from deeppsma.core.volume import Volume
from deeppsma.preprocessing.registration import RegistrationQuality, register, rotation_matrix_zxy

GRID = Geometry((90, 80, 80), (4.0, 4.0, 4.0), (-160.0, -160.0, 0.0))


@cache
def patient(seed: int = 0) -> tuple[Volume, Volume]:
    """A trunk with a bent row of vertebrae, ribs and a pelvis: HU, and labels."""
    rng = np.random.default_rng(seed)
    z, y, x = np.indices(GRID.shape_zyx)
    hu = np.full(GRID.shape_zyx, -1000.0, dtype=np.float32)
    labels = np.zeros(GRID.shape_zyx, dtype=np.uint8)
    body = ((x - 40) / 34) ** 2 + ((y - 40) / 24) ** 2 < 1
    hu[body] = 40.0
    for number in range(14):
        height = 12 + 5.3 * number + rng.uniform(-0.5, 0.5)
        depth, aside = 52 + 4 * np.sin(number / 3) + rng.uniform(-1, 1), 40 + rng.uniform(-1.5, 1.5)
        bone = ((z - height) / 1.9) ** 2 + ((y - depth) / 4) ** 2 + ((x - aside) / 5) ** 2 < 1
        rib = (abs(z - height - 0.1 * abs(x - 40)) < 0.8) & (number > 6)
        rib &= abs(np.sqrt(((x - 40) / 28) ** 2 + ((y - 40) / 19) ** 2) - 1) < 0.05
        hu[bone | rib] = rng.uniform(350, 700)
        labels[bone | rib] = VERTEBRAE[number]
    for side in (-1, 1):
        wing = ((z - 8) / 7) ** 2 + ((y - 46) / 9) ** 2 + ((x - 40 - 17 * side + rng.uniform(-2, 2)) / 4) ** 2 < 1
        hu[wing], labels[wing] = 500.0, HIP_LEFT
    hu = ndimage.gaussian_filter(hu, 0.7) + rng.normal(0, 15, GRID.shape_zyx).astype(np.float32)
    return Volume(hu.astype(np.int16), GRID), Volume(labels, GRID)


def moved(volume: Volume, turn_deg: tuple[float, float, float], shift_mm: tuple[float, float, float]) -> Volume:
    """The same voxels elsewhere: nothing is resampled."""
    grid = volume.geometry
    turn, centre = rotation_matrix(turn_deg), grid.corners_world().mean(axis=0)
    origin = turn @ (np.array(grid.origin_xyz) - centre) + centre + np.array(shift_mm)
    direction = tuple((turn @ grid.direction_matrix).ravel().tolist())
    x, y, z = (float(value) for value in origin)
    return Volume(volume.voxels, replace(grid, origin_xyz=(x, y, z), direction=direction))


@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.parametrize(
    ("turn_deg", "shift_mm"), [((0, 0, 0), (0, 0, 150)), ((15, 0, 0), (30, -40, -90)), ((-6, 8, -9), (-100, 60, 90))]
)
def test_known_offsets_are_found(turn_deg, shift_mm, mapped: bool) -> None:
    ct, organs = patient()
    found = register(
        ct, moved(ct, turn_deg, shift_mm), *((organs, moved(organs, turn_deg, shift_mm)) if mapped else ())
    )
    assert not found.quality.failure
    points = GRID.index_to_world(np.argwhere(organs.voxels))
    turn, centre = rotation_matrix(turn_deg), GRID.corners_world().mean(axis=0)
    truth = (points - centre) @ turn.T + centre + np.array(shift_mm)
    assert np.linalg.norm(found.transform.apply(points) - truth, axis=1).max() < 1.0
    assert "agree to" in found.quality.describe()


def test_the_same_scans_give_the_same_transform() -> None:
    ct, _ = patient()
    other = moved(ct, (3, -4, 5), (20, 10, -30))
    assert register(ct, other).transform == register(ct, other).transform


def test_scans_that_are_no_pair_are_a_failure() -> None:
    ct, _ = patient()
    noise = np.random.default_rng(1).normal(0, 300, GRID.shape_zyx)
    blobs = ndimage.gaussian_filter(noise, 3) * 30
    strange = np.where(ct.voxels > -500, 40 + blobs, -1000).astype(np.int16)
    assert register(ct, Volume(strange, GRID)).quality.failure


def test_a_scan_without_bone_is_a_failure() -> None:
    ct, organs = patient()
    air = Volume(np.full(GRID.shape_zyx, -1000, dtype=np.int16), GRID)
    assert "correlation 0.00" in register(ct, air).quality.failure
    assert register(ct, ct, organs, Volume(np.zeros_like(organs.voxels), GRID)).quality.failure


GOOD = RegistrationQuality(0.95, 0.9, 5.0, 1.0, 0.1)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"correlation": 0.2}, "correlation 0.20"),
        ({"bone_dice": 0.1}, "bones overlap by 0.10"),
        ({"rotation_deg": 60.0}, "turned by 60 degrees"),
        ({"overlap": 0.1}, "only 10 % of the bones"),
        ({"agreement_mm": 12.0}, "two starts end 12.0 mm apart"),
    ],
)
def test_each_figure_tells_a_failure(change: dict[str, float], expected: str) -> None:
    assert not GOOD.failure
    assert expected in replace(GOOD, **change).failure


def test_our_rotation_is_itks() -> None:
    import SimpleITK as sitk

    euler = sitk.Euler3DTransform()
    euler.SetRotation(0.3, -0.2, 0.5)
    np.testing.assert_allclose(rotation_matrix_zxy(np.array([0.3, -0.2, 0.5])).ravel(), euler.GetMatrix(), atol=1e-12)
