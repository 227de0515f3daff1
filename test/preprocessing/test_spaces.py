import numpy as np
import pytest
from builders.cases import GRIDS, THRESHOLDS, TRANSFORM, blobs
from hypothesis import given, settings
from hypothesis import strategies as st

from deeppsma.core.box import Box
from deeppsma.core.geometry import Geometry
from deeppsma.core.resampling import resample
from deeppsma.core.tracer import Tracer
from deeppsma.core.transforms import RigidTransform, rotation_matrix
from deeppsma.core.volume import Volume
from deeppsma.preprocessing.spaces import build_spaces, mapped_indices, mark_corners, pooled_maximum


def pets():
    return {tracer: Volume(blobs(GRIDS[tracer], 10 + n), GRIDS[tracer]) for n, tracer in enumerate(Tracer)}


def test_a_space_holds_both_tracers_on_the_fixed_grid():
    spaces = build_spaces(pets(), THRESHOLDS, TRANSFORM)
    for fixed, space in spaces.items():
        own = pets()[fixed]
        assert np.array_equal(space.pet[fixed], own.voxels[space.box.slices])
        assert np.array_equal(space.hot, own.voxels[space.box.slices] >= THRESHOLDS[fixed])
        # Nothing above threshold was cropped away.
        assert space.hot.sum() == (own.voxels >= THRESHOLDS[fixed]).sum()
        to_moving = TRANSFORM if fixed is Tracer.FDG else TRANSFORM.inverse()
        whole = resample(pets()[fixed.other], own.geometry, to_moving)
        assert np.allclose(space.pet[fixed.other], whole[space.box.slices], atol=1e-5)


def test_a_point_moves_from_fdg_to_psma_by_hand():
    # 2 mm voxels on both sides; FDG points lie 4 mm (2 voxels) lower in PSMA space.
    grid = Geometry((9, 9, 9), (2.0, 2.0, 2.0))
    fdg, psma = np.zeros(grid.shape_zyx, np.float32), np.zeros(grid.shape_zyx, np.float32)
    fdg[6, 4, 4] = psma[4, 4, 4] = 10
    images = {Tracer.FDG: Volume(fdg, grid), Tracer.PSMA: Volume(psma, grid)}
    spaces = build_spaces(images, THRESHOLDS, RigidTransform(translation_xyz=(0.0, 0.0, -4.0)))
    for space in spaces.values():
        for tracer in Tracer:
            assert np.allclose(space.pet[tracer], space.pet[space.fixed], atol=1e-5)
            assert space.needed[tracer][tuple(np.argwhere(space.hot)[0])]


def test_no_hot_voxel_gives_no_space():
    cold = {tracer: Volume(np.ones(GRIDS[tracer].shape_zyx, np.float32), GRIDS[tracer]) for tracer in Tracer}
    assert build_spaces(cold, THRESHOLDS, TRANSFORM) == {}


def test_one_hot_tracer_still_gives_both_spaces():
    images = pets() | {Tracer.PSMA: Volume(np.ones(GRIDS[Tracer.PSMA].shape_zyx, np.float32), GRIDS[Tracer.PSMA])}
    spaces = build_spaces(images, THRESHOLDS, TRANSFORM)
    assert set(spaces) == set(Tracer)
    assert not spaces[Tracer.PSMA].hot.any()


@given(st.tuples(*[st.floats(-180, 180)] * 3), st.tuples(*[st.sampled_from([1, -1])] * 3), st.floats(-10, 10))
@settings(max_examples=25, deadline=None)
def test_needed_holds_every_voxel_that_interpolation_reads(turn, flips, shift):
    """A mask anywhere outside ``needed`` never shows on a hot voxel of the other grid."""
    rng = np.random.default_rng(0)
    source = Geometry((9, 8, 7), (3.0, 2.5, 2.0), (-6, -8, -10), tuple((rotation_matrix(turn) * flips).ravel()))
    target = Geometry((12, 13, 14), (2.0, 2.0, 2.5), (-14, -12, -11))
    transform = RigidTransform(tuple(rotation_matrix([4, -6, 9]).ravel()), (shift, 1.0, -2.0))
    hot = rng.random(source.shape_zyx) < 0.2
    needed = np.zeros(target.shape_zyx, bool)
    for points in mapped_indices(hot, source, target, transform):
        mark_corners(needed, points)
    elsewhere = Volume((~needed).astype(np.float32), target)
    assert not (resample(elsewhere, source, transform) > 0)[hot].any()


def test_corners_by_hand():
    marked = np.zeros((5, 5, 5), bool)
    mark_corners(marked, np.array([[2.0, 1.5, -0.5]]))  # on a centre, between two, and half outside
    assert np.argwhere(marked).tolist() == [[z, y, 0] for z in (1, 2, 3) for y in (1, 2)]


def test_mapped_indices_by_hand():
    source = Geometry((2, 2, 2), (2.0, 2.0, 2.0))
    target = Geometry((4, 4, 4), (1.0, 1.0, 1.0), (1.0, 0.0, 0.0))
    mask = np.zeros((2, 2, 2), bool)
    mask[1, 0, 1] = True  # world x 2, y 0, z 2; on the target x 1, y 0, z 2
    (points,) = mapped_indices(mask, source, target, RigidTransform())
    assert points.tolist() == [[2, 0, 1]]


def test_resampling_labels_takes_the_nearest():
    labels = Volume(np.arange(8, dtype=np.uint8).reshape(2, 2, 2), Geometry((2, 2, 2), (2.0, 2.0, 2.0)))
    out = resample(labels, Geometry((1, 1, 1), (1.0, 1.0, 1.0), (1.9, 0.4, 0.3)), labels=True)
    assert out.ravel().tolist() == [1]


def test_resampling_far_away_gives_zeros():
    volume = Volume(np.ones((3, 3, 3), np.float32), Geometry((3, 3, 3), (1.0, 1.0, 1.0)))
    assert not resample(volume, Geometry((2, 2, 2), (1.0, 1.0, 1.0), (500.0, 0, 0))).any()


def test_pooling_by_hand_with_a_partial_block():
    line = np.array([1, 5, 2, 3, 9], dtype=np.float32).reshape(1, 1, 5)
    assert pooled_maximum(line, (1, 1, 2)).ravel().tolist() == [5, 3, 9]
    assert pooled_maximum(line, (1, 1, 1)) is line


def test_the_crop_has_a_margin_within_the_grid():
    grid = Geometry((40, 40, 40), (2.0, 2.0, 2.0))
    voxels = np.zeros(grid.shape_zyx, np.float32)
    voxels[20, 2, 38] = 10
    images = {tracer: Volume(voxels, grid) for tracer in Tracer}
    box = build_spaces(images, THRESHOLDS, RigidTransform())[Tracer.FDG].box
    assert box.start_zyx == pytest.approx((15, 0, 33), abs=1)
    assert box.stop_zyx[1:] == (9, 40) or box.stop_zyx[1:] == (8, 40)
    assert isinstance(box, Box)
