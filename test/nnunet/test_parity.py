"""With the same random weights our answers are those of nnU-Net's own predictor."""

import json

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from deeppsma.nnunet.folder import read_model_folder
from deeppsma.nnunet.network import PlannedNetwork
from deeppsma.nnunet.preprocess import prepare
from deeppsma.nnunet.windows import planned_weights, planned_windows
from deeppsma.windows import blend
from test.nnunet.official import CASES


@pytest.mark.parametrize("kind", CASES)
def test_probabilities_and_labels_agree(official, kind):
    place = official(kind)
    model = read_model_folder(place / "model", [str(fold) for fold in CASES[kind]["folds"]])
    network = PlannedNetwork(model.plan, len(model.folds), mirrored=True).eval()
    for fold, state in zip(network.folds, model.folds.values(), strict=True):
        fold.load_state_dict(state)
    image = np.load(place / "image.npy")
    spacing = tuple(json.loads((place / "spacing.json").read_text()))
    made = prepare([lambda channel=channel: channel for channel in image], spacing, model.plan)

    def run(box):
        window = np.zeros((3, *box.shape_zyx), np.float32)
        inner = box.clipped(made.channels.shape[1:])
        window[(slice(None), *inner.relative_to(box).slices)] = made.channels[(slice(None), *inner.slices)]
        with torch.inference_mode():
            return network(torch.from_numpy(window)[None])[0].numpy()

    shape, patch = made.channels.shape[1:], model.plan.patch_planned
    rows = 3 * len(model.folds)
    everywhere = np.ones(shape, bool)
    logits = blend(planned_windows(shape, patch), everywhere, rows, run, weights=planned_weights(patch))
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
