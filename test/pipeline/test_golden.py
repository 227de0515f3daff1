"""Whether a change changes masks: those of every recipe, on two small patients, beside masks of an earlier version.

``PYTHONPATH=test python test/pipeline/test_golden.py`` writes them anew; a release that does so says in the changelog
how masks change.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from builders.patients import small_patient

from deeppsma.core.tracer import Tracer
from deeppsma.inference.device import cpu_plan
from deeppsma.io.layouts import load_case
from deeppsma.models.store import WeightsStore
from deeppsma.phantom.write_cohort import write_patient
from deeppsma.pipeline.case_run import CaseRun
from deeppsma.pipeline.method import Method
from deeppsma.pipeline.recipe import load_recipe

DATA = Path(__file__).parents[1] / "data/golden"
SEEDS = (3, 4)
RECIPES = (
    "single",
    "single_plus",
    "bothways",
    "bothways_plus",
    "mean",
    "mean_of_two",
    "second_opinion",
    "best",
    "ensemble",
    "paire",
    "nnunet",
)


def masks_of(seed, folder):
    write_patient(small_patient(seed, "pet", version=2), folder, "platform")
    methods = [Method.choose(load_recipe(name), WeightsStore.default()) for name in RECIPES]
    run = CaseRun(load_case(folder / "input"), methods, "cpu")
    return {method.name: run.on_pets(run.apply(method)) for method in methods}


def same_arithmetic():
    made = json.loads((DATA / "made.json").read_text())
    return made["precision"] == cpu_plan().precision and made["torch"] == torch.__version__


@pytest.mark.parametrize("seed", SEEDS)
def test_masks_are_those_of_an_earlier_version(seed, tmp_path):
    with np.load(DATA / "masks.npz") as golden:
        for recipe, masks in masks_of(seed, tmp_path / "case").items():
            for tracer in Tracer:
                found = masks[tracer].voxels
                wanted = np.unpackbits(golden[f"{seed}/{recipe}/{tracer}"], count=found.size).reshape(found.shape)
                assert wanted.any()
                if same_arithmetic():
                    assert np.array_equal(found, wanted), (recipe, tracer)
                else:  # another processor's precision, or another torch: the same to the eye
                    dice = 2 * (found & wanted).sum() / (found.sum() + wanted.sum())
                    assert dice > 0.97, (recipe, tracer, dice)


def record():
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        packed = {
            f"{seed}/{recipe}/{tracer}": np.packbits(mask.voxels)
            for seed in SEEDS
            for recipe, masks in masks_of(seed, Path(place) / f"case_{seed}").items()
            for tracer, mask in masks.items()
        }
    np.savez_compressed(DATA / "masks.npz", **packed)
    made = json.loads((DATA / "made.json").read_text())
    made |= {"precision": cpu_plan().precision, "torch": torch.__version__}
    (DATA / "made.json").write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(record())
