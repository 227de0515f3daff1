from dataclasses import replace

import numpy as np
import pytest

from deeppsma.box import Box
from deeppsma.channels import build_channels
from deeppsma.images import Volume
from deeppsma.resampling import resample
from deeppsma.spaces import build_spaces
from deeppsma.tracer import Tracer
from test.conftest import GRIDS, THRESHOLDS, TINY_BLOCKS, TINY_NETWORK, TRANSFORM, blobs, organ_map


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


def test_channels_follow_the_configuration(space_and_organs):
    space, organs = space_and_organs
    config = replace(TINY_NETWORK, channels=("psma_pet",))
    assert build_channels(config, space, THRESHOLDS, organs, TRANSFORM).window(Box((0, 0, 0), (2, 2, 2))).shape[0] == 1
