from dataclasses import replace

import numpy as np
import pytest
from builders.patients import small_patient

from deeppsma.core import anatomy as organs
from deeppsma.core.geometry import Geometry
from deeppsma.core.tracer import Tracer
from deeppsma.core.transforms import RigidTransform
from deeppsma.evaluation.spheres import sphere_recovery
from deeppsma.phantom.scan.ct import CtOptions, ct_geometry, densities, image_ct
from deeppsma.phantom.scan.imaging import Exposure, image_pet, outlined, point_spread
from deeppsma.phantom.scan.motion import Breathing, Motion
from deeppsma.phantom.scan.noise import bed_profile, noisy, texture
from deeppsma.phantom.scan.scanners import FINE_SCANNERS, SCANNERS, draw_scanner, field_of_view_mm
from deeppsma.phantom.scan.segmenter import segmented
from deeppsma.phantom.session import rigid_motion
from deeppsma.phantom.uptake.radioligand import RADIOLIGANDS

PSMA_11, FDG = RADIOLIGANDS[0], RADIOLIGANDS[-1]
GE, VISION = SCANNERS[0], next(s for s in SCANNERS if s.name.startswith("vision"))
BOX = Geometry((60, 60, 60), (3.0,) * 3)


def exposure(**more):
    return replace(Exposure(GE, FDG, BOX, RigidTransform(), 1e-4), **more)


@pytest.mark.parametrize("scanner", SCANNERS, ids=lambda s: s.name)
@pytest.mark.parametrize("ligand", RADIOLIGANDS, ids=lambda r: r.key)
def test_a_point_keeps_its_activity(scanner, ligand):
    assert sum(weight for weight, _ in point_spread(scanner, ligand)) == pytest.approx(1)


def test_spheres_are_recovered_as_measured():
    """GE Discovery 690, hot spheres of 10 to 22 mm: 44, 56, 65, 75 %."""
    ours = [sphere_recovery(d, GE, FDG) for d in (10, 13, 17, 22)]
    assert ours == pytest.approx([0.44, 0.56, 0.65, 0.75], abs=0.05)
    assert all(sphere_recovery(d, GE, PSMA_11) < fdg for d, fdg in zip((10, 13, 17, 22), ours, strict=True))
    assert sphere_recovery(10, VISION, FDG) > ours[0]
    with pytest.raises(ValueError, match="above 0"):
        sphere_recovery(0, GE, FDG)


def test_truth_is_where_lesions_give_the_activity():
    without = np.full(BOX.shape_zyx, 1, np.float32)
    without[:, :, 40:] = 20  # an organ
    lesions = without.copy()
    lesions[20:40, 20:40, 5:20] = 12  # apart from it
    lesions[20:40, 20:40, 36:40] = 12  # beside it
    scan = image_pet(
        BOX, without, lesions, np.zeros(BOX.shape_zyx, bool), exposure(ligand=PSMA_11), np.random.default_rng(0)
    )
    assert scan.threshold_suv == 3
    assert scan.truth[30, 30, 12]
    assert not scan.truth[30, 30, 45]  # the organ is as hot and no disease
    assert not scan.truth[scan.suv < 3].any()
    none = image_pet(BOX, without, without, np.zeros(BOX.shape_zyx, bool), exposure(), np.random.default_rng(0))
    assert not none.truth.any()
    assert none.threshold_suv == 3  # FDG without a liver in view


def test_the_fdg_threshold_comes_from_the_imaged_liver():
    liver = np.zeros(BOX.shape_zyx, bool)
    liver[10:50, 10:50, 10:50] = True
    activity = np.where(liver, 2.0, 0.5).astype(np.float32)
    quiet, loud = (
        image_pet(BOX, activity, activity, liver, exposure(liver_cov=cov), np.random.default_rng(1)).threshold_suv
        for cov in (1e-4, 0.15)
    )
    assert quiet == pytest.approx(2.0, rel=0.03)
    assert loud > 1.15 * quiet


def test_a_halo_darkens_what_surrounds_hot_urine():
    activity = np.full(BOX.shape_zyx, 2, np.float32)
    activity[25:35, 25:35, 25:35] = 100
    no_liver = np.zeros(BOX.shape_zyx, bool)
    plain, halo = (
        image_pet(BOX, activity, activity, no_liver, exposure(halo=h), np.random.default_rng(0)).suv for h in (0.0, 0.7)
    )
    assert halo[30, 30, 20] < 0.75 * plain[30, 30, 20]
    assert halo[30, 30, 30] == pytest.approx(plain[30, 30, 30], rel=0.02)
    cold = np.full(BOX.shape_zyx, 2, np.float32)
    assert image_pet(BOX, cold, cold, no_liver, exposure(halo=0.7), np.random.default_rng(0)).suv.min() > 1.5


def test_nobody_outlines_a_speck():
    hot = np.zeros((9, 9, 9), bool)
    hot[1, 1, 1] = True
    hot[4:7, 4:7, 4:7] = True
    assert outlined(hot, 0.027).sum() == 27
    assert outlined(hot, 1.0).sum() == 28
    assert not outlined(np.zeros((3, 3, 3), bool), 1.0).any()


def test_noise_has_the_size_and_texture_of_a_real_scan():
    """As in the real FDG scan that the noise was calibrated on: see `deeppsma.phantom.scan.noise`."""
    grid = Geometry((80, 96, 96), (3.27, 4.69, 4.69))
    one_bed = replace(GE, bed_mm=400.0)
    field = texture(grid, 6.8, np.random.default_rng(0))
    assert field.std() == pytest.approx(1, abs=0.03)
    in_plane = np.corrcoef(field[:, :, :-1].ravel(), field[:, :, 1:].ravel())[0, 1]
    axial = np.corrcoef(field[:-1].ravel(), field[1:].ravel())[0, 1]
    assert in_plane == pytest.approx(0.61, abs=0.08)
    assert axial == pytest.approx(0.61, abs=0.08)
    liver, muscle = (
        noisy(np.full(grid.shape_zyx, level, np.float32), grid, one_bed, 0.1, 8.0, 6.8, np.random.default_rng(1))[35:45]
        for level in (8.0, 2.3)
    )
    assert liver.mean() == pytest.approx(8, rel=0.02)
    ratio = muscle.std() / liver.std()
    assert np.log(ratio) / np.log(2.3 / 8) == pytest.approx(0.72, abs=0.05)
    assert liver.min() > 0


def test_nothing_measured_stays_nothing():
    dark = np.zeros(BOX.shape_zyx, np.float32)
    assert np.array_equal(noisy(dark, BOX, GE, 0.1, 2.0, 6, np.random.default_rng(0)), dark)


def test_noise_repeats_with_the_bed():
    grid = Geometry((335, 4, 4), (3.27, 3.0, 3.0))
    profile = bed_profile(grid, GE)
    inner = profile[47:-47]
    assert 1.2 < inner.max() / inner.min() < 1.6
    assert profile[0] > 1.2
    swing = profile - profile.mean()
    agreement = [np.corrcoef(swing[:-lag], swing[lag:])[0, 1] for lag in range(20, 60)]
    assert 20 + int(np.argmax(agreement)) == pytest.approx(36, abs=2)  # 47 slices, 11 of them measured twice


@pytest.mark.parametrize("scanner", SCANNERS, ids=lambda s: s.name)
def test_whole_beds_cover_the_trunk(scanner):
    for seed in range(10):
        low, high = field_of_view_mm(scanner, -190, 912, np.random.default_rng(seed))
        step = scanner.bed_mm * (1 - scanner.overlap)
        beds = (high - low - scanner.bed_mm) / step
        assert beds == pytest.approx(round(beds), abs=1e-6)
        assert low < -150
        assert high > 730


def test_scanners_come_as_often_as_in_the_data_set():
    rng = np.random.default_rng(0)
    drawn = [draw_scanner(rng, version=2).name for _ in range(600)]
    assert drawn.count("ge-3.27-192") / 600 == pytest.approx(0.41, abs=0.06)


def test_fine_grids_are_an_eighth_since_version_3():
    rng = np.random.default_rng(0)
    drawn = [draw_scanner(rng) for _ in range(1500)]
    fine = np.mean([scanner.spacing_zyx[1:] == (1.65, 1.65) for scanner in drawn])
    assert fine == pytest.approx(74 / 602, abs=0.03)
    assert np.mean([scanner.name == "ge-3.27-192" for scanner in drawn]) == pytest.approx(318 / 602, abs=0.06)
    assert all(scanner.plane_size * 1.65 == pytest.approx(726) for scanner in FINE_SCANNERS)


@pytest.fixture(scope="module")
def visit():
    return small_patient(3).sessions[Tracer.PSMA].visit


def test_breathing_moves_the_liver_down_and_leaves_the_hips(visit):
    motion, scene = Motion(visit.frame), visit.scene
    breath = motion.moved(scene.part_map, 16.0)
    labels = scene.labels()
    moved = scene.lookup(np.arange(1, len(scene.parts) + 1), 0)  # part numbers
    assert np.array_equal(moved, scene.part_map)
    liver = next(i for i, part in enumerate(scene.parts, start=1) if part.name == "liver")
    height = [np.argwhere(m == liver)[:, 0].mean() * 8.0 for m in (scene.part_map, breath)]
    assert 6 < height[0] - height[1] < 18
    hips = np.isin(labels, (organs.HIP_LEFT, organs.HIP_RIGHT))
    assert np.array_equal(breath[hips], scene.part_map[hips])
    assert np.array_equal(motion.moved(scene.part_map, 0.0), scene.part_map)


def test_a_pet_averages_breaths(visit):
    motion = Motion(visit.frame)
    liver = (visit.scene.labels() == organs.LIVER).astype(np.float32)
    averaged = motion.averaged(liver, Breathing(24.0, 0.0))
    assert averaged.sum() == pytest.approx(liver.sum(), rel=0.1)
    assert ((averaged > 0.1) & (averaged < 0.9)).sum() > 50  # its dome is smeared
    assert not ((liver > 0) & (liver < 1)).any()


def test_a_segmenter_is_ragged_and_now_and_then_wrong(visit):
    scene = visit.scene
    truth = scene.labels()
    maps = [segmented(scene, scene.part_map, np.random.default_rng(i)) for i in range(25)]
    agreement = np.array([(m.labels[truth > 0] == truth[truth > 0]).mean() for m in maps])
    assert 0.5 < np.median(agreement) < 0.97
    errors = [error for m in maps for error in m.errors]
    for kind in ("missed", "cut", "given to", "one off"):
        assert any(kind in error for error in errors), kind
    assert max(m.labels.max() for m in maps) <= 117


def test_what_a_segmenter_misses_is_missing(visit, monkeypatch):
    monkeypatch.setattr("deeppsma.phantom.scan.segmenter._MISSED", 1.1)
    organ_map = segmented(visit.scene, visit.scene.part_map, np.random.default_rng(0))
    assert not organ_map.labels.any()
    assert "missed liver" in organ_map.errors


def test_a_ct_has_cortex_contrast_noise_and_an_edge(visit):
    still = CtOptions(contrast=False, dose=1.0, liver_hu=0.0)
    scene, frame = visit.scene, visit.frame
    plain, portal = (densities(scene, scene.part_map, frame, [], replace(still, contrast=c)) for c in (False, True))
    liver = scene.labels() == organs.LIVER
    assert (portal[liver] > plain[liver]).all()
    assert (plain[scene.bone()] > 800).mean() > 0.3
    assert (plain[frame.y > 140] < -600).any()  # the table
    grid = Geometry((3, 64, 64), (8.0, 8.0, 8.0), (-256, -256, 300))
    low, high = (
        image_ct(scene.geometry, plain, grid, RigidTransform(), 500.0, replace(still, dose=d), np.random.default_rng(0))
        for d in (0.25, 100.0)
    )
    assert low.dtype == np.int16
    assert (low[:, 0, 0] == -1024).all()  # outside what it sees
    inside = (high > 0) & (high < 60)
    assert (low - high)[inside].std() > 20


def test_metal_throws_streaks():
    scene = Geometry((5, 80, 80), (2.0,) * 3)
    tissue = np.full(scene.shape_zyx, 40, np.float32)
    metal = tissue.copy()
    metal[2:, 36:44, 36:44] = 3071
    options = CtOptions(contrast=False, dose=1e6, liver_hu=0.0)
    without, with_metal = (
        image_ct(scene, t, scene, RigidTransform(), 500.0, options, np.random.default_rng(0)).astype(int)
        for t in (tissue, metal)
    )
    far = np.s_[4, :, 55:70]
    assert np.abs(with_metal[far] - without[far]).max() > 30
    assert np.abs(with_metal[0] - without[0]).max() < 30


def test_a_ct_covers_its_pet():
    pet = Geometry((100, 192, 192), (3.27, 2.865, 2.865), (-270, -270, -200))
    grid = ct_geometry(GE, pet)
    assert grid.shape_zyx[1:] == (512, 512)
    assert grid.index_to_world(np.array([[grid.shape_zyx[0] - 1, 0, 0]]))[0, 2] >= pet.corners_world()[:, 2].max() - 3.3


def test_a_motion_turns_about_its_centre():
    motion = rigid_motion(np.array([0, 0, 90.0]), np.array([1.0, 2, 3]), (10.0, 0, 0))
    assert motion.apply(np.array([[10.0, 0, 0]]))[0] == pytest.approx([11, 2, 3])
    assert motion.apply(np.array([[11.0, 0, 0]]))[0] == pytest.approx([11, 3, 3])
