from dataclasses import replace

import numpy as np
import pytest
from builders.cases import GRIDS, THRESHOLDS, TINY_BLOCKS, TINY_NETWORK, TRANSFORM, blobs, organ_map

from deeppsma.core.box import Box
from deeppsma.core.resampling import resample
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.preprocessing.channels import build_channels, outside_values, soft_organ, standardised_ct
from deeppsma.preprocessing.organ_contrast import CONTRAST_LIMIT, organ_contrast
from deeppsma.preprocessing.spaces import build_spaces


@pytest.fixture
def space_and_organs():
    pets = {tracer: Volume(blobs(GRIDS[tracer], 10 + n), GRIDS[tracer]) for n, tracer in enumerate(Tracer)}
    organs = {tracer: Volume(organ_map(GRIDS[tracer], n), GRIDS[tracer]) for n, tracer in enumerate(Tracer)}
    return build_spaces(pets, THRESHOLDS, TRANSFORM)[Tracer.PSMA], organs


def test_order_and_scaling_of_the_report(space_and_organs):
    space, organs = space_and_organs
    channels = build_channels(TINY_NETWORK, space, THRESHOLDS, organs, TRANSFORM)
    fdg, fdg_organs, psma, psma_organs = channels.window(Box.whole(space.geometry.shape_zyx))
    assert fdg == pytest.approx(space.pet[Tracer.FDG] / 2.5 - 1, abs=1e-5)
    assert psma == pytest.approx(space.pet[Tracer.PSMA] / 3.0 - 1, abs=1e-5)
    assert (psma >= 0).sum() == pytest.approx(space.hot.sum(), abs=2)
    assert np.rint(psma_organs * 117) == pytest.approx(organs[Tracer.PSMA].voxels[space.box.slices])
    moved = resample(organs[Tracer.FDG], space.geometry, TRANSFORM.inverse(), labels=True)
    assert np.rint(fdg_organs * 117) == pytest.approx(moved)


def test_outside_the_grid_there_is_air_and_no_organ(space_and_organs):
    space, organs = space_and_organs
    channels = build_channels(TINY_NETWORK, space, THRESHOLDS, organs, TRANSFORM)
    outside = channels.window(Box((-4, 0, 0), (0, 2, 2)))
    assert outside[:, 0, 0, 0].tolist() == [-1, 0, -1, 0]


def test_a_block_has_its_highest_suv(space_and_organs):
    space, organs = space_and_organs
    channels = build_channels(TINY_BLOCKS, space, THRESHOLDS, organs, TRANSFORM)
    assert channels.block_zyx == (2, 1, 1)  # 3 x 4 x 4 mm voxels, blocks of about 5 mm
    window = channels.window(Box.whole(channels.geometry.shape_zyx))
    assert window[2, 1, 3, 3] == pytest.approx(space.pet[Tracer.PSMA][2:4, 3, 3].max() / 3 - 1, abs=1e-5)


def test_a_missing_organ_map_is_zeros(space_and_organs):
    space, organs = space_and_organs
    channels = build_channels(TINY_NETWORK, space, THRESHOLDS, organs | {Tracer.FDG: None}, TRANSFORM)
    assert not channels.window(Box.whole(space.geometry.shape_zyx))[1].any()


def test_uptake_against_the_organ(space_and_organs):
    space, organs = space_and_organs
    config = replace(TINY_NETWORK, channels=("fdg_contrast", "psma_contrast"))
    channels = build_channels(config, space, THRESHOLDS, organs, TRANSFORM)
    fdg, psma = channels.window(Box.whole(space.geometry.shape_zyx))
    moved = resample(organs[Tracer.FDG], space.geometry, TRANSFORM.inverse(), labels=True)
    assert fdg == pytest.approx(organ_contrast(space.pet[Tracer.FDG], moved, 2.5), abs=2e-3)
    labels = organs[Tracer.PSMA].voxels[space.box.slices]
    assert psma == pytest.approx(organ_contrast(space.pet[Tracer.PSMA], labels, 3.0), abs=2e-3)
    outside = channels.window(Box((-4, 0, 0), (0, 2, 2)))
    assert outside[:, 0, 0, 0].tolist() == outside_values(config) == [-CONTRAST_LIMIT] * 2
    missing = build_channels(config, space, THRESHOLDS, organs | {Tracer.PSMA: None}, TRANSFORM)
    _, psma = missing.window(Box.whole(space.geometry.shape_zyx))
    hot = space.pet[Tracer.PSMA] >= 3.0
    assert (psma[hot] >= 0).all()
    assert (psma[~hot] < 1e-3).all()


def test_channels_follow_the_configuration(space_and_organs):
    space, organs = space_and_organs
    config = replace(TINY_NETWORK, channels=("psma_pet",))
    assert build_channels(config, space, THRESHOLDS, organs, TRANSFORM).window(Box((0, 0, 0), (2, 2, 2))).shape[0] == 1


def paire(*kinds):
    return replace(TINY_NETWORK, channels=tuple(f"psma_{kind}" for kind in kinds), organ_embedding=0)


def test_channels_of_the_second_report(space_and_organs):
    space, organs = space_and_organs
    grid = GRIDS[Tracer.PSMA]
    hu = np.random.default_rng(0).normal(0, 300, grid.shape_zyx).astype(np.float32)
    cts = {Tracer.PSMA: Volume(hu, grid), Tracer.FDG: None}
    config = paire("ratio", "ct", "organ-kidney", "sdf-kidney")
    channels = build_channels(config, space, THRESHOLDS, organs, TRANSFORM, cts)
    ratio, ct, kidney, soft = channels.window(Box.whole(space.geometry.shape_zyx))
    assert ratio == pytest.approx(space.pet[Tracer.PSMA] / 3, abs=1e-5)
    inside = hu[space.box.slices]
    clipped = np.clip(inside, *np.percentile(inside, [5, 95]))
    assert ct == pytest.approx((clipped - clipped.mean()) / clipped.std(), abs=2e-3)
    wanted = np.isin(organs[Tracer.PSMA].voxels[space.box.slices], [2, 3])
    assert np.array_equal(kidney > 0, wanted)
    assert (soft[wanted] >= 0.5 - 1e-3).all()
    assert (soft[~wanted] < 0.5).all()
    assert channels.window(Box((-4, 0, 0), (0, 2, 2)))[:, 0, 0, 0].tolist() == outside_values(config) == [0, 0, 0, 0]


def test_a_ct_that_is_missing_is_refused(space_and_organs):
    space, organs = space_and_organs
    with pytest.raises(ValueError, match="no PSMA CT"):
        build_channels(paire("ct"), space, THRESHOLDS, organs, TRANSFORM)


def test_soft_distances_rise_over_ten_millimetres():
    mask = np.zeros((40, 3, 3), bool)
    mask[20:] = True
    soft = soft_organ(mask, (1.0, 1.0, 1.0))[:, 1, 1]
    # The organ's first voxel lies on its border: distance 0.
    assert soft[20] == pytest.approx(0.5)
    assert soft[25] == pytest.approx(0.9, abs=1e-3)
    assert soft[15] == pytest.approx(0.1, abs=1e-3)
    assert soft_organ(mask, (2.0, 1.0, 1.0))[25, 1, 1] == pytest.approx(1 / (1 + np.exp(-10 / 2.2758)), abs=1e-4)
    assert not soft_organ(np.zeros((3, 3, 3), bool), (1.0, 1.0, 1.0)).any()


def test_a_ct_of_one_value_is_flat():
    assert not standardised_ct(np.full((3, 3, 3), 40, np.int16)).any()
