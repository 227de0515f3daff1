"""Runs under a Python that has nnunetv2: what its own predictor says of an image, mirrored, all folds.

    python nnunet_predict.py MODEL IMAGE.npy OUT.npz

IMAGE is [channel, z, y, x], with a spacing.json (z, y, x) beside it.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch


def main(model, image, out):
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    folds = tuple(int(path.name[5:]) for path in sorted(model.glob("fold_*")))
    predictor = nnUNetPredictor(device=torch.device("cpu"), perform_everything_on_device=False, allow_tqdm=False)
    # The predictor unpickles whole checkpoints; these are our own.
    predictor.initialize_from_trained_model_folder(str(model), folds, "checkpoint_final.pth")
    spacing = json.loads(image.with_name("spacing.json").read_text())
    labels, probabilities = predictor.predict_single_npy_array(
        np.load(image), {"spacing": spacing}, save_or_return_probabilities=True
    )
    np.savez(out, labels=labels, probabilities=probabilities)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
