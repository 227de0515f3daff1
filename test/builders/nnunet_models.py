"""A model folder as nnU-Net leaves it, made without nnU-Net."""

import json

import torch
from builders.nnunet_official import CASES, plans_of

from deeppsma.models.nnunet.plans import read_plan
from deeppsma.models.unet import UNet

DATASET = {
    "channel_names": {"0": "PET", "1": "CT", "2": "bones"},
    "labels": {"background": 0, "ttb": 1, "normal": 2},
    "numTraining": 1,
    "file_ending": ".mha",
}


def write_model(folder, kind="plain", folds=("0",), channels=None, **checkpoint):
    folder.mkdir(parents=True)
    dataset = DATASET if channels is None else DATASET | {"channel_names": channels}
    plans = plans_of(CASES[kind]) | {"dataset_name": folder.parent.name}
    settings = plans["configurations"]["3d_fullres"]
    for key in ("normalization_schemes", "use_mask_for_norm"):
        settings[key] = settings[key][: len(dataset["channel_names"])]
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    shape = read_plan(plans, dataset, "3d_fullres", ()).shape
    for number, fold in enumerate(folds):
        torch.manual_seed(number)
        state = dict(UNet(shape).state_dict())
        # As in nnU-Net's own: the decoder names the encoder once more.
        state |= {f"decoder.encoder.{key[8:]}": value for key, value in state.items() if key.startswith("encoder.")}
        content = {
            "network_weights": state,
            "init_args": {"configuration": "3d_fullres"},
            "inference_allowed_mirroring_axes": tuple(CASES[kind]["mirror"]) or None,
            "trainer_name": "nnUNetTrainer",
        }
        (folder / f"fold_{fold}").mkdir()
        torch.save(content | checkpoint, folder / f"fold_{fold}/checkpoint_final.pth")
    return folder
