import copy
from dataclasses import asdict

import pytest
from builders.nnunet_models import DATASET
from builders.nnunet_official import CASES, plans_of

from deeppsma.models.nnunet.plans import Normalisation, Plan, Resampling, read_plan
from deeppsma.models.unet_config import UNetConfig


@pytest.fixture
def plans():
    return plans_of(CASES["transposed"])


def settings(plans):
    return plans["configurations"]["3d_fullres"]


def test_a_plan_is_read_whole(plans):
    plan = read_plan(plans, DATASET, "3d_fullres", (0, 2))
    assert plan.shape.kind == "ResidualEncoderUNet"
    assert (plan.shape.channels, plan.shape.class_count) == (3, 3)
    assert plan.shape.blocks == (2, 1, 2)
    assert plan.transpose == (1, 0, 2)
    assert plan.spacing_of((1.0, 2.0, 3.0)) == (2.0, 1.0, 3.0)
    assert plan.normalisations[1] == Normalisation("CTNormalization", False, 50.0, 200.0, -700.0, 900.0)
    assert plan.image_resampling == Resampling(3, 0, None)
    assert plan.answer_resampling == Resampling(1, 0, None)
    assert plan.mirror_axes == (0, 2)
    assert Plan.from_dict(asdict(plan)) == plan


def test_configurations_inherit(plans):
    plans["configurations"]["mine"] = {"inherits_from": "3d_fullres", "patch_size": [12, 36, 32]}
    assert read_plan(plans, DATASET, "mine", ()).patch_planned == (12, 36, 32)
    plans["configurations"]["3d_fullres"] = {"inherits_from": "mine"}
    with pytest.raises(ValueError, match="inherit from each other"):
        read_plan(plans, DATASET, "mine", ())


def test_plans_of_before_2_4(plans):
    own = settings(plans)
    new = read_plan(plans, DATASET, "3d_fullres", ())
    given = own.pop("architecture")["arch_kwargs"]
    own |= {
        "UNet_class_name": "ResidualEncoderUNet",
        "UNet_base_num_features": 6,
        "unet_max_num_features": 14,
        "n_conv_per_stage_encoder": given["n_blocks_per_stage"],
        "n_conv_per_stage_decoder": given["n_conv_per_stage_decoder"],
        "conv_kernel_sizes": given["kernel_sizes"],
        "pool_op_kernel_sizes": given["strides"],
    }
    old = read_plan(plans, DATASET, "3d_fullres", ())
    assert old.shape.features == (6, 12, 14)
    assert asdict(old.shape) | {"features": ()} == asdict(new.shape) | {"features": ()}


def change(plans, path, value):
    place = plans
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value


OWN = ("configurations", "3d_fullres")
ARCH = (*OWN, "architecture", "arch_kwargs")


@pytest.mark.parametrize(
    ("path", "value", "match"),
    [
        ((*OWN, "architecture", "network_class_name"), "x.SwinUNETR", "unknown architecture 'SwinUNETR'"),
        ((*ARCH, "norm_op"), "torch.nn.BatchNorm3d", "norm_op BatchNorm3d"),
        ((*ARCH, "conv_op"), "torch.nn.Conv2d", "conv_op Conv2d"),
        ((*ARCH, "nonlin"), "torch.nn.ReLU", "nonlin ReLU"),
        ((*ARCH, "dropout_op"), "torch.nn.Dropout3d", "parts that are not known .dropout_op"),
        ((*ARCH, "squeeze_excitation"), True, "parts that are not known .squeeze"),
        ((*ARCH, "norm_op_kwargs"), {"momentum": 1}, "parts that are not known"),
        ((*ARCH, "kernel_sizes"), [[3, 3, 3]], "the same stages"),
        ((*ARCH, "kernel_sizes"), [[3, 3]] * 3, "kernels.0.: expected array of length 3"),
        ((*ARCH, "kernel_sizes"), [[2, 3, 3]] * 3, "odd"),
        ((*ARCH, "features_per_stage"), [6, 10.5, 14], "features.1.: expected int, got float"),
        ((*OWN, "patch_size"), [24, 36], "2-D configuration"),
        ((*OWN, "patch_size"), [23, 36, 32], "no multiple"),
        ((*OWN, "spacing"), [3, 3], "incomplete|expected"),
        ((*OWN, "spacing"), [3, 3, -1], "spacing must be"),
        ((*OWN, "preprocessor_name"), "Mine", "preprocessor 'Mine'"),
        ((*OWN, "previous_stage"), "3d_lowres", "cascade"),
        ((*OWN, "resampling_fn_data"), "resample_torch", "only nnU-Net's default"),
        ((*OWN, "resampling_fn_data_kwargs"), {"order": 3, "antialias": 1}, "unknown settings antialias"),
        ((*OWN, "resampling_fn_data_kwargs"), {"is_seg": True}, "as labels"),
        ((*OWN, "resampling_fn_data_kwargs"), {"order": 7}, "spline orders"),
        ((*OWN, "resampling_fn_probabilities_kwargs"), {"order": 3}, "only 1, 0 is known"),
        ((*OWN, "normalization_schemes"), ["NoNormalization"], "1 normalisations"),
        ((*OWN, "normalization_schemes"), ["NoNormalization", "CTNormalization", "Mine"], "unknown normalisation"),
        (("foreground_intensity_properties_per_channel",), None, "incomplete plans"),
        (("transpose_forward",), [0, 0, 2], "transposition"),
        (("transpose_forward",), None, "incomplete plans"),
        (("configurations",), {}, "no configuration"),
    ],
)
def test_what_is_not_known_is_refused(plans, path, value, match):
    change(plans, path, value)
    with pytest.raises(ValueError, match=match):
        read_plan(plans, DATASET, "3d_fullres", ())


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        ({"background": 0, "whole": [1, 2]}, "regions"),
        ({"background": 0, "ttb": 2}, "must be 0, 1, 2"),
        ({"background": 0}, "must be 0, 1, 2"),
    ],
)
def test_labels_that_are_no_classes_are_refused(plans, labels, match):
    with pytest.raises(ValueError, match=match):
        read_plan(plans, DATASET | {"labels": labels}, "3d_fullres", ())
    ignoring = DATASET | {"labels": {"background": 0, "ttb": 1, "ignore": 2}}
    assert read_plan(plans, ignoring, "3d_fullres", ()).shape.class_count == 2


def test_broken_manifests_are_refused(plans):
    whole = asdict(read_plan(plans, DATASET, "3d_fullres", ()))
    for spoilt in ({"shape": None}, {"colour": 1}, {"mirror_axes": (3,)}, {"normalisations": ()}):
        with pytest.raises(ValueError):  # noqa: PT011 - each says something else
            Plan.from_dict(copy.deepcopy(whole) | spoilt)
    with pytest.raises(ValueError, match="unknown keys"):
        UNetConfig.from_dict(whole["shape"] | {"depth": 3})
