"""Tiny cases and weights that trials spoil; made once, in seconds."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.geometry import Geometry
from deeppsma.core.tracer import Tracer
from deeppsma.core.transforms import RigidTransform, rotation_matrix
from deeppsma.core.volume import Volume
from deeppsma.io.grand_challenge import CT, ORGANS, PET, REGISTRATION, SOCKETS, THRESHOLD
from deeppsma.io.image_files import write_image
from deeppsma.io.transform_files import to_challenge, write_tfm
from deeppsma.models.build import build_network
from deeppsma.models.config import NetworkConfig
from deeppsma.models.nnunet.plans import read_plan
from deeppsma.models.unet import UNet
from deeppsma.models.weights import write_member

GRIDS = {
    Tracer.PSMA: Geometry((14, 13, 12), (4.0, 5.0, 5.0), (-30.0, -32.0, -28.0)),
    Tracer.FDG: Geometry((15, 12, 13), (4.0, 5.0, 4.5), (-28.0, -30.0, -26.0)),
}
THRESHOLDS = {Tracer.PSMA: 3.0, Tracer.FDG: 2.5}
TRANSFORM = RigidTransform(tuple(rotation_matrix([2, -3, 4]).ravel().tolist()), (1.5, -2.0, 3.0), (0.0, 0.0, 5.0))
NETWORK = NetworkConfig(
    channels=("fdg_pet", "fdg_organs", "psma_pet", "psma_organs"),
    outputs=("fdg", "psma"),
    filters=(4, 4, 4, 4),
    strides=((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2)),
    patch_zyx=(16, 16, 16),
    organ_embedding=2,
    summary="tiny, random",
)
RECIPE = """# a recipe of one's own
members = ["cds-compact"]
fusion = "bothways"
summary = "tiny"
window_overlap = 0.5

[growing]
radius_mm = 5.0
kept_organs = [2, 3, 5]

[cutoffs]
psma = 0.5
fdg = 0.4
"""
PLANS: dict[str, Any] = {
    "dataset_name": "Dataset801_PSMA",
    "plans_name": "nnUNetPlans",
    "transpose_forward": [1, 0, 2],
    "transpose_backward": [1, 0, 2],
    "foreground_intensity_properties_per_channel": {},
    "configurations": {
        "base": {"batch_size": 2},
        "3d_fullres": {
            "inherits_from": "base",
            "preprocessor_name": "DefaultPreprocessor",
            "patch_size": [12, 12, 12],
            "spacing": [5.0, 4.0, 5.0],
            "normalization_schemes": ["NoNormalization", "ZScoreNormalization"],
            "use_mask_for_norm": [False, False],
            "resampling_fn_data": "resample_data_or_seg_to_shape",
            "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
            "resampling_fn_data_kwargs": {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None},
            "resampling_fn_probabilities_kwargs": {
                "is_seg": False,
                "order": 1,
                "order_z": 0,
                "force_separate_z": None,
            },
            "architecture": {
                "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
                "arch_kwargs": {
                    "n_stages": 2,
                    "features_per_stage": [4, 6],
                    "conv_op": "torch.nn.modules.conv.Conv3d",
                    "kernel_sizes": [[3, 3, 3], [3, 3, 3]],
                    "strides": [[1, 1, 1], [2, 2, 2]],
                    "n_conv_per_stage": [1, 1],
                    "n_conv_per_stage_decoder": [1],
                    "conv_bias": True,
                    "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
                    "norm_op_kwargs": {"eps": 1e-5, "affine": True},
                    "nonlin": "torch.nn.LeakyReLU",
                    "nonlin_kwargs": {"inplace": True},
                },
            },
        },
    },
}
DATASET = {
    "channel_names": {"0": "PET", "1": "CT"},
    "labels": {"background": 0, "ttb": 1, "normal": 2},
    "numTraining": 1,
    "file_ending": ".mha",
}


@dataclass(frozen=True)
class Material:
    """Where everything lies.

    Parameters
    ----------
    cases
        Input folders by format: "mha", "zlib" (compressed MHA), "nii",
        "nii.gz", "tif", and "tfm" (the data set's layout).
    weights, models
        Folders for ``--weights``: our own member, and nnU-Net's models.
    recipe
        A recipe's file.
    """

    cases: dict[str, Path]
    weights: Path
    models: Path
    recipe: Path


def make_material(folder: Path) -> Material:
    """Write everything below a folder."""
    suffixes = {"mha": ".mha", "zlib": ".mha", "nii": ".nii", "nii.gz": ".nii.gz", "tif": ".tif"}
    cases = {
        name: _platform_case(folder / name, suffix, compress=name in ("zlib", "nii.gz"))
        for name, suffix in suffixes.items()
    }
    cases["tfm"] = _data_set_case(folder / "tfm")
    _member(folder / "weights/cds-compact")
    for tracer in Tracer:
        _model(folder / f"models/Dataset801_{tracer.upper()}/nnUNetTrainer__nnUNetPlans__3d_fullres", tracer)
    (folder / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    return Material(cases, folder / "weights", folder / "models", folder / "recipe.toml")


def _volumes(tracer: Tracer, flat: bool = False) -> dict[str, Volume]:
    """PET, organ map and CT; ``flat``: on grids that TIFF can say (1 mm slices at 0)."""
    grid = GRIDS[tracer]
    own = replace(grid, shape_zyx=(12, 14, 13), spacing_zyx=(5.0, 4.5, 4.5))
    if flat:
        grid = Geometry(grid.shape_zyx, (1.0, *grid.spacing_zyx[1:]))
        own = Geometry(own.shape_zyx, (1.0, *own.spacing_zyx[1:]))
    rng = np.random.default_rng(10 + list(Tracer).index(tracer))
    hu = rng.integers(0, 80, own.shape_zyx).astype(np.int16)
    hu[:, :3] = -1000
    labels = rng.choice([0, 0, 2, 5, 21, 27, 51, 117], size=[-(-n // 4) for n in own.shape_zyx])
    whole = labels.repeat(4, 0).repeat(4, 1).repeat(4, 2)[tuple(slice(n) for n in own.shape_zyx)]
    return {
        PET: Volume(_hot(grid, rng), grid),
        ORGANS: Volume(whole.astype(np.uint8), own),
        CT: Volume(hu, own),
    }


def _hot(grid: Geometry, rng: np.random.Generator) -> NDArray[np.float32]:
    index = np.argwhere(np.ones(grid.shape_zyx, bool))
    suv = 0.8 + 0.2 * rng.random(len(index))
    for _ in range(5):
        centre = rng.uniform(0.2, 0.8, 3) * grid.shape_zyx
        suv += rng.uniform(5, 10) * np.exp(-((index - centre) ** 2).sum(1) / (2 * rng.uniform(1.2, 1.8) ** 2))
    return suv.reshape(grid.shape_zyx).astype(np.float32)


def _platform_case(folder: Path, suffix: str, compress: bool) -> Path:
    listing = []
    for socket in SOCKETS:
        target = folder / socket.relative_path
        target.parent.mkdir(parents=True, exist_ok=True)
        if socket.kind == REGISTRATION:
            target.write_text(json.dumps(to_challenge(TRANSFORM)), encoding="utf-8")
        elif socket.kind == THRESHOLD and socket.tracer:
            target.write_text(json.dumps(THRESHOLDS[socket.tracer]), encoding="utf-8")
        elif socket.tracer:
            target.mkdir()
            volumes = _volumes(socket.tracer, flat=suffix == ".tif")
            write_image(volumes[socket.kind], target / f"image{suffix}", compress)
        interface = {"slug": socket.slug, "relative_path": socket.relative_path}
        listing.append({"file": None, "image": None, "value": None, "interface": interface})
    (folder / "inputs.json").write_text(json.dumps(listing), encoding="utf-8")
    return folder


def _data_set_case(folder: Path) -> Path:
    for tracer in Tracer:
        place = folder / tracer.upper()
        place.mkdir(parents=True)
        volumes = _volumes(tracer)
        for kind, name in {PET: "PET", CT: "CT", ORGANS: "totseg_24"}.items():
            write_image(volumes[kind], place / f"{name}.nii.gz")
        (place / "threshold.json").write_text(json.dumps({"suv_threshold": THRESHOLDS[tracer]}), encoding="utf-8")
    write_tfm(TRANSFORM, folder / "FDG/rigid.tfm")
    return folder


def _member(folder: Path) -> None:
    import torch

    torch.manual_seed(0)
    network = build_network(NETWORK)
    with torch.no_grad():  # about half of all voxels are called disease
        for name, module in network.named_modules():
            if name.endswith("output_block.conv.conv"):
                module.weight *= 20
    write_member(folder, NETWORK, network.state_dict(), {"data": "nothing (random weights)"})


def _model(folder: Path, tracer: Tracer) -> None:
    import torch

    (folder / "fold_0").mkdir(parents=True)
    plans = {**PLANS, "dataset_name": f"Dataset801_{tracer.upper()}"}
    (folder / "plans.json").write_text(json.dumps(plans), encoding="utf-8")
    (folder / "dataset.json").write_text(json.dumps(DATASET), encoding="utf-8")
    torch.manual_seed(1)
    network = UNet(read_plan(plans, DATASET, "3d_fullres", ()).shape)
    content = {
        "network_weights": network.state_dict(),
        "init_args": {"configuration": "3d_fullres"},
        "inference_allowed_mirroring_axes": (0, 1, 2),
        "trainer_name": "nnUNetTrainer",
    }
    torch.save(content, folder / "fold_0/checkpoint_final.pth")
