"""With the same random weights our answers are those of nnU-Net's own predictor."""

import json
from functools import partial
from unittest.mock import patch

import numpy as np
import pytest
import torch
from builders.cases import TINY_NETWORK
from builders.nnunet_official import CASES
from scipy.ndimage import map_coordinates
from scipy.special import softmax

from deeppsma.core.anatomy import ORGAN_CLASSES
from deeppsma.core.resampling import resample
from deeppsma.core.tracer import Tracer
from deeppsma.inference.device import ComputePlan
from deeppsma.inference.ensemble import run_members
from deeppsma.inference.nnunet import planned_profile, planned_windows
from deeppsma.inference.sliding_window import blend
from deeppsma.io.layouts import load_case
from deeppsma.models.nnunet.folder import read_model_folder
from deeppsma.models.nnunet.importer import ImportRequest, import_weights
from deeppsma.models.nnunet.network import PlannedNetwork
from deeppsma.preprocessing.channels import cut
from deeppsma.preprocessing.nnunet import prepare
from deeppsma.preprocessing.prepared_case import PreparedCase

#: An environment with nnunetv2 is made first, and its predictor is slow.
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", CASES)
def test_probabilities_and_labels_agree(official, kind):
    place = official(kind)
    model = read_model_folder(place / "model", [str(fold) for fold in CASES[kind]["folds"]])
    network = PlannedNetwork(model.plan, len(model.folds), mirrored=True).eval()
    for fold, state in zip(network.folds, model.folds.values(), strict=True):
        fold.load_state_dict(state)
    image = np.load(place / "image.npy")
    spacing = tuple(json.loads((place / "spacing.json").read_text()))
    made = prepare([(str(i), partial(image.__getitem__, i)) for i in range(len(image))], spacing, model.plan)

    def run(box):
        with torch.inference_mode():
            return network(torch.from_numpy(cut(made.channels, box))[None])[0].numpy()

    shape, patch = made.shape, model.plan.patch_planned
    rows = 3 * len(model.folds)
    everywhere = np.ones(shape, bool)
    logits = blend(planned_windows(shape, patch), everywhere, rows, run, profile=planned_profile(patch))
    logits = logits.reshape(-1, 3, *shape).mean(axis=0)
    cropped = np.zeros(image.shape[1:], bool)
    cropped[tuple(made.box.slices[made.transpose.index(axis)] for axis in range(3))] = True
    index = made.index_of(cropped).T
    ours = np.stack([map_coordinates(each, index, order=1, mode="nearest") for each in logits])
    ours = torch.softmax(torch.from_numpy(ours), dim=0).numpy()
    with np.load(place / "official.npz") as theirs:
        assert np.abs(ours - theirs["probabilities"][:, cropped]).max() < 1e-3
        assert (ours.argmax(axis=0) == theirs["labels"][cropped]).mean() > 0.9999
        assert ours.std(axis=1).min() > 0.02  # and there was something to agree on
        assert not theirs["labels"][~cropped].any()


@pytest.mark.parametrize("kind", ["plain", "transposed"])
def test_an_imported_model_says_of_a_case_what_nnunet_says(official, platform_case, tmp_path, kind):
    case = load_case(platform_case)
    study = case.fdg
    pet = study.read_pet()
    labels = resample(study.read_organs(), pet.geometry, labels=True)
    image = np.stack(
        [
            pet.voxels / study.threshold_suv,
            resample(study.read_ct(), pet.geometry, outside=-1000),
            np.isin(labels, ORGAN_CLASSES["bones"]),
        ]
    )
    np.save(tmp_path / "image.npy", image.astype(np.float32))
    (tmp_path / "spacing.json").write_text(json.dumps(pet.geometry.spacing_zyx))
    place = official(kind, tmp_path / "image.npy")
    request = ImportRequest(
        place / "model", tmp_path / "weights/m", "fdg", ("ratio", "ct", "organ-bones"), mirrored=True
    )
    member = import_weights(request, TINY_NETWORK)
    with patch("deeppsma.inference.ensemble.plan_compute", lambda _: (ComputePlan("cpu", "float32"), None)):
        logits = run_members(PreparedCase(case, keep_whole=True), [member]).logits["m"]
    ours = softmax(logits.of(Tracer.FDG, Tracer.FDG), axis=0)
    assert not logits.knows(Tracer.PSMA, Tracer.PSMA)  # the model is not for it
    hot = pet.voxels >= np.float32(study.threshold_suv)
    with np.load(place / "official.npz") as theirs:
        assert np.abs(ours - theirs["probabilities"][:, hot]).max() < 1e-3
