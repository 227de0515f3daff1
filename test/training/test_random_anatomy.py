"""Patches of nobody: what is varied follows in every channel, and what is sought stays."""

from dataclasses import replace

import numpy as np
import pytest
from builders.networks import CLASSES, SMALL_NETWORK

from deeppsma.core.errors import ConfigurationError
from deeppsma.models.channel_kinds import CONTRAST_LIMIT
from deeppsma.preprocessing.organ_contrast import organ_contrast
from deeppsma.training.command import load_settings
from deeppsma.training.config import TrainingConfig
from deeppsma.training.patches import draw_patch
from deeppsma.training.random_anatomy import RandomAnatomy, check_channels, vary
from deeppsma.training.samples import Sample, at_threshold

LIVER, HEART, VERTEBRA, RIB = 5, 51, 30, 95
NETWORK = replace(SMALL_NETWORK, channels=("fdg_pet", "fdg_organs", "psma_pet", "psma_organs", "fdg_contrast"))
EVERYTHING = RandomAnatomy(
    share=1, organ_sd=0.4, kind_sd=0.4, level_sd=0.2, bend_voxels=1, blur_voxels=0.5, noise=0.1, map_shift_voxels=1
)


@pytest.fixture
def patch():
    """Two organs side by side, and a lesion in the second; uptake over threshold 0.5, 0.8 and 3."""
    shape = (16, 16, 16)
    labels = np.zeros(shape, dtype=np.uint8)
    labels[:, :, :8], labels[:, :, 8:] = LIVER, VERTEBRA
    ratio = np.where(labels == LIVER, 0.5, 0.8).astype(np.float32)
    disease = np.zeros(shape, dtype=bool)
    disease[6:10, 6:10, 10:14] = True
    ratio[disease] = 3
    target, region = at_threshold(disease, ratio >= 1)
    contrast = organ_contrast(ratio, labels, 1.0)
    organs = labels.astype(np.float32) / 117
    inputs = np.stack([ratio - 1, organs, ratio - 1, organs, contrast]).astype(np.float32)
    return inputs, np.stack([target] * 2).astype(np.float32), np.stack([region] * 2).astype(np.float32)


def test_nothing_is_varied_unless_it_is_said(patch):
    for before, after in zip(patch, vary(*patch, NETWORK, RandomAnatomy(), np.random.default_rng(0)), strict=True):
        np.testing.assert_array_equal(before, after)


def test_the_same_state_gives_the_same_patch_and_the_given_one_is_left_alone(patch):
    kept = [array.copy() for array in patch]
    first = vary(*patch, NETWORK, EVERYTHING, np.random.default_rng(3))
    second = vary(*patch, NETWORK, EVERYTHING, np.random.default_rng(3))
    other = vary(*patch, NETWORK, EVERYTHING, np.random.default_rng(4))
    for a, b, given, before in zip(first, second, patch, kept, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(given, before)
    assert not np.array_equal(first[0], other[0])


def test_an_organ_takes_up_otherwise_and_disease_as_before(patch):
    inputs, target, _ = vary(*patch, NETWORK, RandomAnatomy(share=1, organ_sd=0.7), np.random.default_rng(1))
    ratio = inputs[0] + 1
    assert abs(np.log(ratio[2, 2, 2] / 0.5)) > 0.05
    np.testing.assert_allclose(ratio[7:9, 7:9, 11:13], 3, rtol=0.05)
    np.testing.assert_array_equal(target[0][6:10, 6:10, 10:14], 1)


def test_a_heated_organ_becomes_hot_and_no_disease(patch):
    for seed in range(20):
        inputs, target, region = vary(*patch, NETWORK, RandomAnatomy(share=1, kind_sd=1), np.random.default_rng(seed))
        np.testing.assert_array_equal(region[0] == 2, inputs[0] >= 0)
        if (region[0][:, :, :4] == 2).all():
            assert not target[0][:, :, :4].any()
            return
    pytest.fail("no seed heated the liver above the threshold")


def test_disease_below_the_threshold_is_none(patch):
    for seed in range(50):
        inputs, target, _ = vary(*patch, NETWORK, RandomAnatomy(share=1, level_sd=1.5), np.random.default_rng(seed))
        if inputs[0].max() < 0:
            assert not target[0].any()
            return
    pytest.fail("no seed cooled the lesion below the threshold")


def test_contrast_is_what_would_have_been_computed(patch):
    """Kinds scaled as a whole: against their median nothing changed but at edges, where the scale is blurred."""
    inputs, _, _ = vary(*patch, NETWORK, RandomAnatomy(share=1, kind_sd=0.5), np.random.default_rng(2))
    labels = np.rint(inputs[1] * 117).astype(np.uint8)
    wanted = organ_contrast(np.maximum(inputs[0] + 1, 0), labels, 1.0)
    inside = np.zeros(labels.shape, dtype=bool)
    inside[:3, :3, :3] = inside[:3, :3, -3:] = True
    np.testing.assert_allclose(inputs[4][inside], wanted[inside], atol=0.02)
    assert abs(inputs[4]).max() <= CONTRAST_LIMIT


def test_without_a_map_the_patch_is_as_a_case_without_one(patch):
    inputs, _, _ = vary(*patch, NETWORK, RandomAnatomy(share=1, no_map_share=1), np.random.default_rng(0))
    assert not inputs[1].any()
    assert not inputs[3].any()
    nothing = np.zeros(inputs[0].shape, dtype=np.uint8)
    np.testing.assert_allclose(inputs[4], organ_contrast(inputs[0] + 1, nothing, 1.0), atol=1e-5)


def test_without_a_ct_the_patch_is_as_a_case_without_one(patch):
    seeing = replace(NETWORK, channels=(*NETWORK.channels, "fdg_density", "psma_density"))
    inputs = np.concatenate([patch[0], np.full((2, 16, 16, 16), 0.3, np.float32)])
    varied, _, _ = vary(inputs, *patch[1:], seeing, RandomAnatomy(share=1, no_ct_share=1), np.random.default_rng(0))
    assert not varied[5:].any()
    np.testing.assert_allclose(varied[:5], inputs[:5], atol=1e-6)


def test_a_bend_keeps_labels_whole_and_volume_about(patch):
    inputs, target, region = vary(*patch, NETWORK, RandomAnatomy(share=1, bend_voxels=1), np.random.default_rng(5))
    assert set(np.unique(np.rint(inputs[1] * 117))) <= {LIVER, VERTEBRA}
    np.testing.assert_allclose(inputs[1] * 117, np.rint(inputs[1] * 117), atol=1e-4)
    assert set(np.unique(target)) <= {0, 1}
    assert set(np.unique(region)) <= {0, 1, 2}
    before = int(((patch[1] > 0) & (patch[2] == 2))[0].sum())
    assert 0.5 * before < int(((target > 0) & (region == 2))[0].sum()) < 2 * before


def test_a_shifted_map_leaves_the_pet(patch):
    settings = RandomAnatomy(share=1, map_shift_voxels=3)
    moved = set()
    for seed in range(8):
        inputs, _, _ = vary(*patch, NETWORK, settings, np.random.default_rng(seed))
        np.testing.assert_allclose(inputs[0], patch[0][0], atol=1e-6)
        edge = int((np.rint(inputs[1][8, 8] * 117) == LIVER).sum())  # the liver ends at x = 8
        moved.add(edge - 8)
    assert moved - {0}
    assert moved <= set(range(-3, 4))


def test_drawing_a_patch_varies_it(patch):
    inputs, target, region = patch
    sample = Sample(inputs.astype(np.float16), target.astype(np.uint8), region.astype(np.uint8))
    plain = TrainingConfig("compact", 1, 1, 1e-3, augmentations=("none",))
    varied = replace(plain, random_anatomy=EVERYTHING)
    one, two = (draw_patch(sample, NETWORK, each, np.random.default_rng(1)) for each in (plain, varied))
    assert not np.array_equal(one.inputs, two.inputs)
    assert two.inputs.dtype == np.float32


@pytest.mark.parametrize("wrong", [{"share": 1.1}, {"no_map_share": -0.1}, {"noise": -1.0}, {"map_shift_voxels": -1}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match="random anatomy"):
        RandomAnatomy(**wrong)


def test_channels_that_would_not_follow_are_refused(tmp_path):
    check_channels(NETWORK)
    with pytest.raises(ValueError, match="fdg_ratio, fdg_ct"):
        check_channels(CLASSES)
    path = tmp_path / "mine.toml"
    lines = ['network = "paire-compact-sdf"', "steps = 1", "batch = 1", "learning_rate = 1e-3"]
    path.write_text("\n".join([*lines, "[random_anatomy]", "share = 0.5"]))
    with pytest.raises(ConfigurationError, match="random anatomy does not know"):
        load_settings(str(path), "fdg")
    _, config = load_settings("compact-random")
    assert config.random_anatomy.share == 0.6
