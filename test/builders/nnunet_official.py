"""Runs under a Python that has nnunetv2: makes a model folder with random weights, and predicts with it.

    python official.py OUT KIND [IMAGE]

Writes OUT/model (an nnUNet_results folder), OUT/image.npy [channel, z, y, x], OUT/spacing.json (z, y, x) and
OUT/official.npz (probabilities and labels of nnU-Net's own predictor). KIND names one of `CASES`. IMAGE (.npy, with a
spacing.json beside it) is taken instead of a random one.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

CASES = {
    # Isotropic; mirrored along all axes; two folds.
    "plain": {
        "network": "PlainConvUNet",
        "transpose": [0, 1, 2],
        "spacing": [3.0, 3.0, 3.0],
        "image_spacing": [3.3, 2.9, 2.9],
        "shape": [40, 44, 39],
        "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
        "kernels": [[3, 3, 3]] * 3,
        "patch": [24, 32, 28],
        "mirror": [0, 1, 2],
        "folds": [0, 1],
    },
    # As the organisers' plans: axes transposed; smaller than a window along one of them.
    "transposed": {
        "network": "ResidualEncoderUNet",
        "transpose": [1, 0, 2],
        "spacing": [3.82, 3.27, 3.82],
        "image_spacing": [3.0, 4.073, 4.073],
        "shape": [31, 42, 50],
        "strides": [[1, 1, 1], [2, 2, 2], [2, 1, 2]],
        "kernels": [[3, 3, 3], [3, 3, 3], [3, 1, 3]],
        "patch": [24, 36, 32],
        "mirror": [],
        "folds": ["all"],
    },
    # Thick slices: the coarse axis is resampled apart, before and after.
    "anisotropic": {
        "network": "PlainConvUNet",
        "transpose": [0, 1, 2],
        "spacing": [6.0, 1.8, 1.8],
        "image_spacing": [7.0, 2.1, 2.1],
        "shape": [17, 48, 40],
        "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
        "kernels": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
        "patch": [12, 32, 32],
        "mirror": [2],
        "folds": [0],
    },
}


def plans_of(case):
    blocks = "n_conv_per_stage" if case["network"] == "PlainConvUNet" else "n_blocks_per_stage"
    data = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    seg = {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None}
    probabilities = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    architecture = {
        "network_class_name": f"dynamic_network_architectures.architectures.unet.{case['network']}",
        "arch_kwargs": {
            "n_stages": 3,
            "features_per_stage": [6, 10, 14],
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": case["kernels"],
            "strides": case["strides"],
            blocks: [2, 1, 2],
            "n_conv_per_stage_decoder": [1, 2],
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }
    configuration = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": case["patch"],
        "spacing": case["spacing"],
        "normalization_schemes": ["NoNormalization", "CTNormalization", "ZScoreNormalization"],
        "use_mask_for_norm": [False, False, case["network"] == "PlainConvUNet"],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": data,
        "resampling_fn_seg_kwargs": seg,
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": probabilities,
        "architecture": architecture,
        "batch_dice": True,
    }
    backward = [case["transpose"].index(axis) for axis in range(3)]
    return {
        "dataset_name": "Dataset801_test",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": case["transpose"],
        "transpose_backward": backward,
        "configurations": {"3d_fullres": configuration},
        "foreground_intensity_properties_per_channel": {
            str(number): {"mean": 50.0, "std": 200.0, "percentile_00_5": -700.0, "percentile_99_5": 900.0}
            for number in range(3)
        },
    }


def image_of(case, rng):
    """PET, CT and another image; nothing at all on some of the border."""
    from scipy.ndimage import gaussian_filter

    shape = case["shape"]
    image = np.stack([gaussian_filter(rng.standard_normal(shape), 2) for _ in range(3)])
    image /= image.std(axis=(1, 2, 3), keepdims=True)
    image = np.stack([np.abs(image[0]), 300 * image[1], image[2]]).astype(np.float32)
    image[:, :2], image[:, :, -3:], image[:, :, :, :1] = 0, 0, 0
    return image


def main(out, kind, given=None):
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    case = CASES[kind]
    torch.manual_seed(1)
    model = out / "model"
    plans = plans_of(case)
    dataset = {
        "channel_names": {"0": "PET", "1": "CT", "2": "organs"},
        "labels": {"background": 0, "ttb": 1, "normal": 2},
        "numTraining": 1,
        "file_ending": ".mha",
    }
    model.mkdir(parents=True)
    (model / "plans.json").write_text(json.dumps(plans))
    (model / "dataset.json").write_text(json.dumps(dataset))
    architecture = plans["configurations"]["3d_fullres"]["architecture"]
    for fold in case["folds"]:
        network = get_network_from_plans(
            architecture["network_class_name"],
            architecture["arch_kwargs"],
            architecture["_kw_requires_import"],
            3,
            3,
            deep_supervision=True,
        )
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if "norm" in name or "bias" in name:
                    parameter.add_(0.2 * torch.randn_like(parameter))
        (model / f"fold_{fold}").mkdir()
        torch.save(
            {
                "network_weights": network.state_dict(),
                "optimizer_state": {},
                "grad_scaler_state": None,
                "logging": {"mean_fg_dice": [np.float64(0.5), np.float32(0.25)]},
                "_best_ema": np.float64(0.5),
                "current_epoch": 3,
                "init_args": {"plans": plans, "configuration": "3d_fullres", "fold": fold, "dataset_json": dataset},
                "trainer_name": "nnUNetTrainer",
                "inference_allowed_mirroring_axes": tuple(case["mirror"]) or None,
            },
            model / f"fold_{fold}/checkpoint_final.pth",
        )
    rng = np.random.default_rng(2)
    image = image_of(case, rng) if given is None else np.load(given)
    spacing = case["image_spacing"] if given is None else json.loads(given.with_name("spacing.json").read_text())
    np.save(out / "image.npy", image)
    (out / "spacing.json").write_text(json.dumps(spacing))
    predictor = nnUNetPredictor(device=torch.device("cpu"), perform_everything_on_device=False, allow_tqdm=False)
    # The predictor unpickles whole checkpoints; these are our own.
    predictor.initialize_from_trained_model_folder(str(model), tuple(case["folds"]), "checkpoint_final.pth")
    labels, probabilities = predictor.predict_single_npy_array(
        image, {"spacing": spacing}, save_or_return_probabilities=True
    )
    np.savez(out / "official.npz", labels=labels, probabilities=probabilities)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], *map(Path, sys.argv[3:]))
