from dataclasses import replace

import numpy as np
import pytest
from builders.cases import GRIDS, TINY_BLOCKS, TINY_NETWORK, TRANSFORM, memory_case, organ_map

from deeppsma.core.box import Box
from deeppsma.core.resampling import resample
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.models.channel_kinds import CHANNEL_KINDS, CONTRAST_LIMIT
from deeppsma.preprocessing.channels import MAKERS, Sight, make_channel, soft_organ, standardised_ct
from deeppsma.preprocessing.organ_contrast import organ_contrast
from deeppsma.preprocessing.prepared_case import PreparedCase

ORGANS = {tracer: Volume(organ_map(GRIDS[tracer], n), GRIDS[tracer]) for n, tracer in enumerate(Tracer)}


def seen(config, organs=ORGANS, **more):
    """Channels on the PSMA space of a case in memory, and that space."""
    prepared = PreparedCase(memory_case(organs=organs, **more))
    return prepared.channels(config, Tracer.PSMA), prepared.spaces[Tracer.PSMA]


def test_order_and_scaling_of_the_report():
    channels, space = seen(TINY_NETWORK)
    fdg, fdg_organs, psma, psma_organs = channels.window(Box.whole(space.geometry.shape_zyx))
    assert fdg == pytest.approx(space.pet[Tracer.FDG] / 2.5 - 1, abs=1e-5)
    assert psma == pytest.approx(space.pet[Tracer.PSMA] / 3.0 - 1, abs=1e-5)
    assert (psma >= 0).sum() == pytest.approx(space.hot.sum(), abs=2)
    assert np.rint(psma_organs * 117) == pytest.approx(ORGANS[Tracer.PSMA].voxels[space.box.slices])
    moved = resample(ORGANS[Tracer.FDG], space.geometry, TRANSFORM.inverse(), labels=True)
    assert np.rint(fdg_organs * 117) == pytest.approx(moved)


def test_outside_the_grid_there_is_air_and_no_organ():
    channels, _ = seen(TINY_NETWORK)
    outside = channels.window(Box((-4, 0, 0), (0, 2, 2)))
    assert outside[:, 0, 0, 0].tolist() == [-1, 0, -1, 0]


def test_a_block_has_its_highest_suv():
    channels, space = seen(TINY_BLOCKS)
    assert channels.block_zyx == (2, 1, 1)  # 3 x 4 x 4 mm voxels, blocks of about 5 mm
    window = channels.window(Box.whole(channels.geometry.shape_zyx))
    assert window[2, 1, 3, 3] == pytest.approx(space.pet[Tracer.PSMA][2:4, 3, 3].max() / 3 - 1, abs=1e-5)


def test_a_missing_organ_map_is_zeros():
    channels, space = seen(TINY_NETWORK, {Tracer.PSMA: ORGANS[Tracer.PSMA]})
    assert not channels.window(Box.whole(space.geometry.shape_zyx))[1].any()


def test_uptake_against_the_organ():
    config = replace(TINY_NETWORK, channels=("fdg_contrast", "psma_contrast"))
    channels, space = seen(config)
    fdg, psma = channels.window(Box.whole(space.geometry.shape_zyx))
    moved = resample(ORGANS[Tracer.FDG], space.geometry, TRANSFORM.inverse(), labels=True)
    assert fdg == pytest.approx(organ_contrast(space.pet[Tracer.FDG], moved, 2.5), abs=2e-3)
    labels = ORGANS[Tracer.PSMA].voxels[space.box.slices]
    assert psma == pytest.approx(organ_contrast(space.pet[Tracer.PSMA], labels, 3.0), abs=2e-3)
    outside = channels.window(Box((-4, 0, 0), (0, 2, 2)))
    assert outside[:, 0, 0, 0].tolist() == config.outside_values == [-CONTRAST_LIMIT] * 2
    missing, space = seen(config, {Tracer.FDG: ORGANS[Tracer.FDG]})
    _, psma = missing.window(Box.whole(space.geometry.shape_zyx))
    hot = space.pet[Tracer.PSMA] >= 3.0
    assert (psma[hot] >= 0).all()
    assert (psma[~hot] < 1e-3).all()


def test_channels_follow_the_configuration():
    config = replace(TINY_NETWORK, channels=("psma_pet",))
    channels, _ = seen(config)
    assert channels.window(Box((0, 0, 0), (2, 2, 2))).shape[0] == 1


def paire(*kinds):
    return replace(TINY_NETWORK, channels=tuple(f"psma_{kind}" for kind in kinds), organ_embedding=0)


def test_channels_of_the_second_report():
    grid = GRIDS[Tracer.PSMA]
    hu = np.random.default_rng(0).normal(0, 300, grid.shape_zyx).astype(np.float32)
    hu[0] = -1000  # a CT shows air
    config = paire("ratio", "ct", "organ-kidney", "sdf-kidney")
    channels, space = seen(config, cts={Tracer.PSMA: Volume(hu, grid)})
    ratio, ct, kidney, soft = channels.window(Box.whole(space.geometry.shape_zyx))
    assert ratio == pytest.approx(space.pet[Tracer.PSMA] / 3, abs=1e-5)
    inside = hu[space.box.slices]
    clipped = np.clip(inside, *np.percentile(inside, [5, 95]))
    assert ct == pytest.approx((clipped - clipped.mean()) / clipped.std(), abs=2e-3)
    wanted = np.isin(ORGANS[Tracer.PSMA].voxels[space.box.slices], [2, 3])
    assert np.array_equal(kidney > 0, wanted)
    assert (soft[wanted] >= 0.5 - 1e-3).all()
    assert (soft[~wanted] < 0.5).all()
    assert channels.window(Box((-4, 0, 0), (0, 2, 2)))[:, 0, 0, 0].tolist() == config.outside_values == [0, 0, 0, 0]


def test_a_ct_that_is_missing_is_refused():
    with pytest.raises(ValueError, match="no CT"):
        seen(paire("ct"))


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


def test_every_kind_is_listed_and_made():
    assert set(MAKERS) == set(CHANNEL_KINDS)
    suv, labels = np.full((3, 3, 3), 6.0, np.float32), np.full((3, 3, 3), 5, np.uint8)
    sight = Sight(suv, 3.0, (2.0, 2.0, 2.0), lambda: labels, lambda: np.full((3, 3, 3), 40, np.int16))
    values = {kind: float(make_channel(kind, sight).image[1, 1, 1]) for kind in CHANNEL_KINDS}
    assert (values["pet"], values["ratio"], values["suv"], values["ct"]) == pytest.approx((1, 2, 6, 40))
    assert values["organs"] == pytest.approx(5 / 117)
    assert (values["organ-liver"], values["organ-kidney"]) == (1, 0)
    with pytest.raises(KeyError):
        make_channel("mri", sight)


def test_density_is_the_ct_over_a_thousand_and_water_where_there_is_none():
    suv, labels = np.full((1, 1, 4), 6.0, np.float32), np.zeros((1, 1, 4), np.uint8)
    hu = np.array([[[-1024, -500, 300, 3000]]], np.int16)
    seen = make_channel("density", Sight(suv, 3.0, (2.0, 2.0, 2.0), lambda: labels, lambda: hu))
    np.testing.assert_allclose(seen.image[0, 0], [-1, -0.5, 0.3, 1], atol=1e-6)
    assert 0 * seen.scale + seen.offset == CHANNEL_KINDS["density"].outside  # raw zeros, beyond the grid
    blind = make_channel("density", Sight(suv, 3.0, (2.0, 2.0, 2.0), lambda: labels, lambda: None))
    np.testing.assert_allclose(blind.image, 0, atol=1e-6)


@pytest.mark.parametrize("kind", sorted(CHANNEL_KINDS))
def test_what_a_kind_needs_is_what_it_asks_for(kind):
    asked = []
    suv = np.ones((3, 3, 3), np.float32)
    sight = Sight(
        suv,
        3.0,
        (2.0, 2.0, 2.0),
        lambda: (asked.append("organs"), np.zeros((3, 3, 3), np.uint8))[1],
        lambda: (asked.append("ct"), np.zeros((3, 3, 3), np.int16))[1],
    )
    make_channel(kind, sight)
    needs = CHANNEL_KINDS[kind].needs
    assert set(asked) == ({needs} if needs else set())
