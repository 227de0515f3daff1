import math

import numpy as np
import pytest

from deeppsma.reporting import suv_peak as module
from deeppsma.reporting.suv_peak import RADIUS_MM, sphere_weights, suv_peak


def test_radius_of_one_millilitre():
    assert 4 / 3 * math.pi * RADIUS_MM**3 == pytest.approx(1000)


@pytest.mark.parametrize("spacing", [(3.27, 2.865, 2.865), (3.0, 4.073, 4.073), (5.0, 4.0, 4.0), (2.0, 1.5, 1.0)])
def test_overlap_weights_are_the_spheres_share_of_each_voxel(spacing):
    weights = sphere_weights(spacing)
    assert weights.sum() == pytest.approx(1)
    # A voxel that lies wholly inside has its own volume over 1 ml.
    assert weights.max() == pytest.approx(math.prod(spacing) / 1000, rel=2e-3)
    assert (weights == weights[::-1, ::-1, ::-1]).all()


@pytest.mark.parametrize(
    ("spacing", "voxels"), [((3.27, 2.865, 2.865), 31), ((4.0, 4.0, 4.0), 19), ((3.0, 4.073, 4.073), 21)]
)
def test_whole_voxels_of_the_other_sphere(spacing, voxels):
    assert (sphere_weights(spacing, "centre") > 0).sum() == voxels


def test_a_uniform_lesion_has_its_own_value_and_the_border_counts_as_zero():
    suv = np.full((9, 9, 9), 5.0, np.float32)
    lesion = np.zeros(suv.shape, bool)
    lesion[4, 4, 4] = True
    assert suv_peak(suv, lesion, (4.0, 4.0, 4.0)).suv == pytest.approx(5)
    lesion = np.zeros(suv.shape, bool)
    lesion[0, 4, 4] = True
    weights = sphere_weights((4.0, 4.0, 4.0))
    reach = weights.shape[0] // 2
    assert suv_peak(suv, lesion, (4.0, 4.0, 4.0)).suv == pytest.approx(5 * weights[reach:].sum())


def test_the_sphere_lies_where_its_mean_is_highest_and_not_at_the_hottest_voxel():
    suv = np.ones((15, 15, 25), np.float32)
    suv[7, 7, 5] = 20  # a single hot voxel
    suv[5:10, 5:10, 15:20] = 10  # a warm lump
    lesion = np.zeros(suv.shape, bool)
    lesion[7, 7, 5] = lesion[7, 7, 17] = True
    peak = suv_peak(suv, lesion, (4.0, 4.0, 4.0))
    assert peak.index_zyx == (7, 7, 17)
    assert peak.suv == pytest.approx(10)


def test_slow_sum_over_all_voxels_agrees():
    rng = np.random.default_rng(0)
    suv = rng.random((14, 12, 13)).astype(np.float32)
    lesion = rng.random(suv.shape) > 0.9
    spacing = (3.0, 2.5, 2.8)
    weights = sphere_weights(spacing)
    reach = [n // 2 for n in weights.shape]
    padded = np.pad(suv.astype(float), [(r, r) for r in reach])
    means = {
        tuple(c): (padded[tuple(slice(i, i + n) for i, n in zip(c, weights.shape, strict=True))] * weights).sum()
        for c in np.argwhere(lesion)
    }
    peak = suv_peak(suv, lesion, spacing)
    assert peak.suv == pytest.approx(max(means.values()))
    assert means[peak.index_zyx] == pytest.approx(peak.suv)


@pytest.mark.parametrize("at_a_time", [1, 5000, 10**9])
def test_a_large_lesions_short_cut_changes_nothing(monkeypatch, at_a_time):
    rng = np.random.default_rng(1)
    suv = rng.gamma(2.0, 3.0, (30, 20, 24)).astype(np.float32)
    lesion = rng.random(suv.shape) > 0.7
    monkeypatch.setattr(module, "_MANY", 10**9)
    slow = suv_peak(suv, lesion, (3.0, 2.5, 2.8))
    monkeypatch.setattr(module, "_MANY", 0)
    monkeypatch.setattr(module, "_TRANSFORMED", at_a_time)
    assert suv_peak(suv, lesion, (3.0, 2.5, 2.8)) == slow
    # Where many means are equal, the first is still the one.
    flat = np.full(suv.shape, 4.0, np.float32)
    inside = np.zeros(suv.shape, bool)
    inside[5:25, 5:15, 5:20] = True
    assert suv_peak(flat, inside, (9.0, 9.0, 9.0)).index_zyx == (5, 5, 5)


@pytest.mark.parametrize(
    ("lesion", "sphere", "word"),
    [
        (np.ones((3, 3, 3), bool), "overlap", "shape"),
        (np.zeros((4, 4, 4), bool), "overlap", "without a voxel"),
        (np.ones((4, 4, 4), bool), "round", "sphere"),
    ],
)
def test_what_makes_no_sense_is_refused(lesion, sphere, word):
    with pytest.raises(ValueError, match=word):
        suv_peak(np.zeros((4, 4, 4), np.float32), lesion, (4.0, 4.0, 4.0), sphere)


@pytest.mark.parametrize(
    ("seed", "spacing", "expected"),
    [
        (0, (3.27, 2.865, 2.865), 8.279062271118164),
        (1, (3.0, 4.073, 4.073), 8.58427906036377),
        (2, (4.0, 4.0, 4.0), 8.843595504760742),
    ],
)
def test_whole_voxel_sphere_agrees_with_mirp(seed, spacing, expected):
    """``loc_peak_glob`` of MIRP 2.7.0 (marked compliant with IBSI), computed once on these very images."""
    rng = np.random.default_rng(seed)
    z, y, x = np.meshgrid(np.arange(24), np.arange(26), np.arange(28), indexing="ij")
    suv = (1 + 0.5 * rng.random(z.shape)).astype(np.float32)
    for (cz, cy, cx), height, width in (((11, 12, 10), 9, 2.0), ((13, 14, 18), 7, 3.0)):
        squared = (z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2
        suv += (height * np.exp(-squared / (2 * width**2))).astype(np.float32)
    assert suv_peak(suv, suv >= 4, spacing, "centre").suv == pytest.approx(expected, rel=1e-5)
