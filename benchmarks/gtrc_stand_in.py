"""A stand-in of a GTRC-Net clone: its files and folders, with random weights.

    python -m benchmarks.gtrc_stand_in CLONE [--features 4]

Nothing in it has seen a patient, and what it finds means nothing: it is for trying the commands, for tests and for
timing. Folders, plans and layers are laid out as in the public repositories; with the usual 32 features networks are as
large as theirs.
"""

from __future__ import annotations

import argparse
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

TRAINER = "nnUNetTrainer__nnUNetPlans__3d_fullres"
_NAMES = {"PSMA": "PSMA_PET", "FDG": "FDG_PET", "LUPSMA": "LUPSMA_SPECT"}
_WIDTHS = (64, 32, 16, 1)


def plans_like_gtrc(dataset: str, features: int = 32, patch: Sequence[int] = (192, 112, 112)) -> dict[str, Any]:
    """Plans of GTRC-Net's kind; ``features`` on the first level, twice as many on each further, at most 10 times."""
    levels = 6
    resampling = {"order": 3, "order_z": 0, "force_separate_z": None}
    network = {
        "n_stages": levels,
        "features_per_stage": [min(features * 2**level, 10 * features) for level in range(levels)],
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[3, 3, 3]] * levels,
        "strides": [[1, 1, 1], *[[2, 2, 2]] * 4, [2, 1, 1]],
        "n_conv_per_stage": [2] * levels,
        "n_conv_per_stage_decoder": [2] * (levels - 1),
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    configuration = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(patch),
        "spacing": [3.27, 2.8645833, 2.8645833],
        "normalization_schemes": ["NoNormalization", "CTNormalization"],
        "use_mask_for_norm": [False, False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": {"is_seg": False, **resampling},
        "resampling_fn_seg_kwargs": {"is_seg": True, **resampling, "order": 1},
        "resampling_fn_probabilities_kwargs": {"is_seg": False, **resampling, "order": 1},
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": network,
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
        "batch_dice": False,
    }
    return {
        "dataset_name": dataset,
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {"3d_fullres": configuration},
        "foreground_intensity_properties_per_channel": {
            "0": {"mean": 2.9, "std": 3.2, "percentile_00_5": 1.0, "percentile_99_5": 19.4},
            "1": {"mean": 32.0, "std": 212.0, "percentile_00_5": -1000.0, "percentile_99_5": 920.0},
        },
    }


def write_clone(
    folder: Path,
    first_dataset: int = 881,
    features: int = 4,
    folds: int = 5,
    patch: Sequence[int] = (192, 112, 112),
    spect: bool = True,
) -> Path:
    """Write a stand-in of a clone.

    Parameters
    ----------
    folder
        Made; must not hold one yet.
    first_dataset
        881 as in GTRC-Net-Pretrained, 801 as in GTRC-Net-DEEP-PSMA.
    features
        On the networks' first level; 32 in the real ones.
    folds
        How many.
    patch
        Of the networks, voxels z, y, x.
    spect
        With the model for SPECT, too, as only GTRC-Net-Pretrained has.
    """
    for number, (short, name) in enumerate(_NAMES.items()):
        if short == "LUPSMA" and not spect:
            continue
        dataset = f"Dataset{first_dataset + number}_{name}"
        place = folder / "data/nnUNet_data/results" / dataset / TRAINER
        plans = plans_like_gtrc(dataset, features, patch)
        write_model_folder(place, plans, ("noNorm", "CT"), ("background", "ttb", "norm"), folds, seed=number)
        for fold in range(folds):
            (place / f"fold_{fold}/Thumbs.db").write_bytes(b"stray")
            file = folder / "data" / short / f"subregion_metrics/fold_{fold}/consensus_model.keras"
            write_keras_file(file, np.random.default_rng(100 * number + fold))
    return folder


def write_model_folder(
    folder: Path,
    plans: dict[str, Any],
    channels: Sequence[str],
    labels: Sequence[str],
    folds: int,
    seed: int = 0,
    more: dict[str, Any] | None = None,
) -> None:
    """Write an nnU-Net model folder; ``more`` are further tensors of each checkpoint."""
    import torch

    from deeppsma.models.nnunet.plans import read_plan
    from deeppsma.models.unet import UNet

    dataset = {
        "channel_names": {str(n): name for n, name in enumerate(channels)},
        "labels": {name: n for n, name in enumerate(labels)},
        "numTraining": 0,
        "file_ending": ".nii.gz",
    }
    folder.mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    shape = read_plan(plans, dataset, "3d_fullres", (0, 1, 2)).shape
    for fold in range(folds):
        torch.manual_seed(1000 * seed + fold)
        checkpoint = {
            "network_weights": _named_as_nnunet_does(dict(UNet(shape).state_dict())) | (more or {}),
            "init_args": {"plans": plans, "configuration": "3d_fullres", "fold": fold, "dataset_json": dataset},
            "inference_allowed_mirroring_axes": (0, 1, 2),
            "trainer_name": "nnUNetTrainer",
        }
        (folder / f"fold_{fold}").mkdir()
        torch.save(checkpoint, folder / f"fold_{fold}/checkpoint_final.pth")


def _named_as_nnunet_does(state: dict[str, Any]) -> dict[str, Any]:
    """Parts twice, and the encoder once more in the decoder."""
    official = dict(state)
    for key, value in state.items():
        for part, place in ((".conv.", ".all_modules.0."), (".norm.", ".all_modules.1.")):
            if part in key:
                official[key.replace(part, place)] = value
    return official | {f"decoder.encoder.{key[8:]}": v for key, v in official.items() if key.startswith("encoder.")}


def write_keras_file(path: Path, rng: np.random.Generator, features: int = 6) -> None:
    """Write a consensus network of GTRC-Net's layers as Keras 3 would."""
    import h5py

    layers: list[dict[str, Any]] = [_layer("InputLayer", batch_shape=[None, features], name="input_layer")]
    for number, units in enumerate(_WIDTHS):
        ending = f"_{number}" if number else ""
        activation = "sigmoid" if units == 1 else "relu"
        layers.append(_layer("Dense", name=f"dense{ending}", units=units, activation=activation, use_bias=True))
        if units > 1:
            layers.append(_layer("Dropout", name=f"dropout{ending}", rate=0.2, seed=None, noise_shape=None))
    config = {"module": "keras", "class_name": "Sequential", "config": {"name": "sequential", "layers": layers}}
    numbers = io.BytesIO()
    with h5py.File(numbers, "w") as file:
        width = features
        for number, units in enumerate(_WIDTHS):
            place = file.create_group(f"layers/dense{f'_{number}' if number else ''}/vars")
            place["0"] = (rng.standard_normal((width, units)) / width**0.5).astype(np.float32)
            place["1"] = (0.1 * rng.standard_normal(units)).astype(np.float32)
            width = units
        for number in range(len(_WIDTHS) - 1):
            file.create_group(f"layers/dropout{f'_{number}' if number else ''}/vars")
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.11.3", "date_saved": "1980-01-01@00:00:00"}))
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", numbers.getvalue())


def _layer(kind: str, **config: Any) -> dict[str, Any]:
    return {"module": "keras.layers", "class_name": kind, "config": config, "registered_name": None}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clone", type=Path)
    parser.add_argument("--features", type=int, default=4, help="on the networks' first level (default 4; theirs: 32)")
    parser.add_argument("--first-dataset", type=int, default=881, choices=(881, 801))
    arguments = parser.parse_args()
    write_clone(arguments.clone, arguments.first_dataset, arguments.features, spect=arguments.first_dataset == 881)
    print(f"{arguments.clone}: random weights, {arguments.features} features; what they find means nothing")


if __name__ == "__main__":
    main()
