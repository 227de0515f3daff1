"""One nnU-Net member beside nnU-Net's own command line: same case, same weights, same machine.

    python -m benchmarks.nnunet CASE --nnunet-python PYTHON [--features 4]

PYTHON is one of an environment that has nnunetv2. The member has the plans
that nnU-Net makes for this data and random weights, in a network as narrow as
``--features`` says: what is compared is everything but the network. CASE is a
platform input folder; its FDG scan is taken.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pipeline import measure, print_measured
from deeppsma import Tracer, load_case
from deeppsma.core.resampling import resample
from deeppsma.core.volume import Volume
from deeppsma.io.case import Case
from deeppsma.models.config import load_network
from deeppsma.models.nnunet.importer import ImportRequest, import_weights
from deeppsma.models.nnunet.plans import read_plan
from deeppsma.models.unet import UNet

#: nnU-Net's plan for this data (organisers): FDG.
SPACING, PATCH, TRANSPOSE = [3.65, 3.27, 3.65], [112, 192, 112], [1, 0, 2]
STRIDES = [[1, 1, 1], [2, 2, 2], [2, 2, 2], [2, 2, 2], [2, 2, 2], [1, 2, 1]]
DATASET: dict[str, Any] = {
    "channel_names": {"0": "noNorm", "1": "CT"},
    "labels": {"background": 0, "ttb": 1, "normal": 2},
    "numTraining": 1,
    "file_ending": ".nii.gz",
}


def write_model(folder: Path, features: int) -> None:
    """An nnUNet_results model folder with random weights."""
    import torch

    stages = len(STRIDES)
    architecture = {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            "n_stages": stages,
            "features_per_stage": [min(features * 2**i, features * 10) for i in range(stages)],
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": [[3, 3, 3]] * stages,
            "strides": STRIDES,
            "n_conv_per_stage": [2] * stages,
            "n_conv_per_stage_decoder": [2] * (stages - 1),
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
    resampling = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    configuration = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": PATCH,
        "spacing": SPACING,
        "normalization_schemes": ["NoNormalization", "CTNormalization"],
        "use_mask_for_norm": [False, False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": resampling,
        "resampling_fn_seg_kwargs": resampling | {"is_seg": True, "order": 1},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": resampling | {"order": 1},
        "architecture": architecture,
        "batch_dice": True,
    }
    known = {"mean": 73.0, "std": 200.0, "percentile_00_5": -294.0, "percentile_99_5": 1039.0}
    plans = {
        "dataset_name": "Dataset802_FDG",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": TRANSPOSE,
        "transpose_backward": [TRANSPOSE.index(axis) for axis in range(3)],
        "configurations": {"3d_fullres": configuration},
        "foreground_intensity_properties_per_channel": {"0": known, "1": known},
    }
    folder.mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans), encoding="utf-8")
    (folder / "dataset.json").write_text(json.dumps(DATASET), encoding="utf-8")
    torch.manual_seed(0)
    state = dict(UNet(read_plan(plans, DATASET, "3d_fullres", ()).shape).state_dict())
    official = dict(state)
    for key, value in state.items():  # nnU-Net's own names: parts twice, the encoder once more in the decoder
        for part, place in ((".conv.", ".all_modules.0."), (".norm.", ".all_modules.1.")):
            if part in key:
                official[key.replace(part, place)] = value
    official |= {f"decoder.encoder.{key[8:]}": v for key, v in dict(official).items() if key.startswith("encoder.")}
    (folder / "fold_0").mkdir()
    torch.save(
        {
            "network_weights": official,
            "init_args": {"configuration": "3d_fullres"},
            "trainer_name": "nnUNetTrainer",
            "inference_allowed_mirroring_axes": None,
        },
        folder / "fold_0/checkpoint_final.pth",
    )


def official_seconds(python: Path, model: Path, images: Path, out: Path) -> float:
    """Wall time of nnU-Net's command line, from start to exit."""
    program = python.parent / "nnUNetv2_predict_from_modelfolder"
    command: list[str | Path] = [program, "-i", images, "-o", out, "-m", model, "-f", "0"]
    environment = {**os.environ, "nnUNet_raw": "", "nnUNet_preprocessed": "", "nnUNet_results": ""}
    began = time.monotonic()
    subprocess.run(
        [*command, "-device", "cpu", "--disable_tta", "--disable_progress_bar"],
        check=True,
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    return time.monotonic() - began


def write_images(case: Case, folder: Path) -> None:
    """FDG PET over threshold, and CT on its grid, as nnU-Net's command line wants them."""
    import SimpleITK as sitk

    folder.mkdir()
    pet, ct = case.fdg.read_pet(), case.fdg.read_ct()
    if ct is None:
        raise SystemExit("the case has no FDG CT")
    ratio = Volume(pet.voxels / np.float32(case.fdg.threshold_suv), pet.geometry)
    on_pet = Volume(resample(ct, pet.geometry, outside=-1000).astype(np.float32), pet.geometry)
    for number, volume in enumerate((ratio, on_pet)):
        sitk.WriteImage(volume.to_sitk(), folder / f"case_000{number}.nii.gz")


def main() -> None:
    """Parse the command line, run both, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", type=Path, metavar="CASE")
    parser.add_argument("--nnunet-python", type=Path, required=True, metavar="PYTHON")
    parser.add_argument("--features", type=int, default=4, help="of the network's first stage (the real one has 32)")
    options = parser.parse_args()
    case = load_case(options.case)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_model(folder / "model", options.features)
        write_images(case, folder / "images")
        for tracer in Tracer:  # the same model for both: a recipe answers for both tracers
            request = ImportRequest(folder / "model", folder / f"weights/nn-{tracer}", tracer.value, describe="random")
            import_weights(request, load_network("cds"))
        recipe = folder / "nn.toml"
        recipe.write_text('members = ["nn-psma", "nn-fdg"]\nfusion = "single"\naverage = "probabilities"\n')
        theirs = official_seconds(options.nnunet_python, folder / "model", folder / "images", folder / "theirs")
        ours = measure(options.case, folder / "ours", str(recipe), "cpu", folder / "weights")
    print(f"nnU-Net's command line, one member, FDG alone: {theirs:.1f} s")
    print_measured("deeppsma, one member a tracer, both tracers", ours)


if __name__ == "__main__":
    main()
