"""GTRC-Net's step after the networks, as published and here; and what the networks will cost.

    python -m benchmarks.gtrc CASE CLONE

CASE is a platform input folder, CLONE a clone of GTRC-Net, or a stand-in (`benchmarks.gtrc_stand_in`). The networks are
not run: their classes are taken as disease where PET is at least 2.5 times the threshold, and normal uptake elsewhere
in the above-threshold voxels. Windows, folds and mirrors are counted. ``--fold`` runs one window of one fold on this
processor, which with the counts gives the time of a scan.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.geometry import VectorZyx
from deeppsma.core.resampling import resample
from deeppsma.core.stopwatch import peak_memory_mb
from deeppsma.core.tracer import Tracer
from deeppsma.inference.nnunet import plan_model_task
from deeppsma.io.layouts import load_case
from deeppsma.models.gtrc.consensus import Consensus
from deeppsma.models.nnunet.config import ModelConfig
from deeppsma.models.store import WeightsStore
from deeppsma.pipeline.method import Method
from deeppsma.pipeline.recipe import load_recipe
from deeppsma.postprocessing.consensus import vote
from deeppsma.preprocessing.prepared_case import PreparedCase


def published(
    ratio: NDArray, ct: NDArray, ttb: NDArray, norm: NDArray, spacing_zyx: VectorZyx, consensus: Consensus
) -> tuple[NDArray[np.bool_], dict[str, float]]:
    """Mask, and seconds by stage, of the published way: whole volumes, one masking for each focus and number."""
    from scipy.ndimage import label
    from skimage.morphology import h_maxima
    from skimage.segmentation import watershed

    seconds, began = {}, time.perf_counter()
    axes = [np.arange(-np.ceil(8 / s), np.ceil(8 / s) + 1) * s for s in spacing_zyx]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    above = ratio >= 1
    numbered, count = label(h_maxima(ratio, 0.16666, np.sqrt(x**2 + y**2 + z**2) <= 8))
    labels = watershed(-ratio, numbered, mask=above)
    missing, missing_count = label(above & (labels == 0))
    for i in range(missing_count):
        labels[missing == i + 1] = count + i
    seconds["foci"], began = time.perf_counter() - began, time.perf_counter()
    ml = float(np.prod(spacing_zyx)) / 1000
    rows = []
    for number in range(1, int(labels.max()) + 1):
        mine = labels == number
        if size := mine.sum():
            six = [size * ml, ratio[mine].max(), ratio[mine].mean(), ct[mine].mean()]
            six += [np.logical_and(mine, ttb).sum() / size, np.logical_and(mine, norm).sum() / size]
            rows.append((number, six))
    seconds["measurements"], began = time.perf_counter() - began, time.perf_counter()
    out = np.zeros(ratio.shape, bool)
    for number, six in rows:
        if 2 * consensus.votes(np.array([six])).sum() > len(consensus.networks):
            out[labels == number] = True
    out[ttb & above] = True
    seconds["votes"] = time.perf_counter() - began
    return out, seconds


def count_windows(case: PreparedCase, config: ModelConfig) -> dict[str, int]:
    """Windows of a scan, those that hold an above-threshold voxel, and how often a network runs on each."""
    from deeppsma.core.box import Box

    task = plan_model_task(config, case)
    needed = [window for window in task.windows if _touches(window, task.needed)]
    mirrors = 2 ** len(config.plan.mirror_axes) if config.mirrored else 1
    assert all(isinstance(window, Box) for window in task.windows)
    return {"windows": len(task.windows), "needed": len(needed), "folds": len(config.folds), "mirrors": mirrors}


def _touches(window: Any, needed: NDArray[np.bool_]) -> bool:
    return bool(needed[window.clipped(needed.shape).slices].any())


def seconds_of_a_window(config: ModelConfig) -> float:
    """One fold on one window, not mirrored, on this processor: the better of two."""
    import torch

    from deeppsma.models.unet import UNet

    network = UNet(config.plan.shape).eval()
    image = torch.zeros(1, config.plan.shape.channels, *config.plan.patch_planned)
    taken = []
    with torch.inference_mode():
        for _ in range(2):
            began = time.perf_counter()
            network(image)
            taken.append(time.perf_counter() - began)
    return min(taken)


def main() -> None:
    """Parse the command line, run both, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", type=Path, metavar="CASE")
    parser.add_argument("clone", type=Path, metavar="CLONE")
    parser.add_argument("--fold", action="store_true", help="also time one window of one fold of these networks")
    options = parser.parse_args()
    case = load_case(options.case)
    method = Method.choose(load_recipe("gtrc"), WeightsStore.default(options.clone))
    prepared = PreparedCase(case, keep_whole=True)
    for tracer in Tracer:
        pet, threshold_suv = prepared.pet(tracer), case.study(tracer).threshold_suv
        ct_volume = prepared.ct(tracer)
        if ct_volume is None:
            raise SystemExit(f"the case has no {tracer.upper()} CT")
        ct = resample(ct_volume, pet.geometry, outside=-1000)
        ratio = (pet.voxels / threshold_suv).astype(np.float32)
        ttb, norm = ratio >= 2.5, (ratio >= 1) & (ratio < 2.5)
        given = (ratio, ct, ttb, norm, pet.geometry.spacing_zyx, method.consensus[tracer])
        began = time.perf_counter()
        ours = vote(*given)
        mine = time.perf_counter() - began
        memory_mb = peak_memory_mb()
        theirs, seconds = published(*given)
        same = "identical masks" if np.array_equal(ours.mask, theirs) else "MASKS DIFFER"
        stages = ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())
        print(f"{tracer.upper()} {ratio.shape}, {len(ours.foci)} foci: published {stages}; here {mine:.2f} s; {same}")
        config = method.members_of(tracer)[0].network
        if isinstance(config, ModelConfig):
            counts = count_windows(prepared, config)
            runs = counts["needed"] * counts["folds"] * counts["mirrors"]
            print(f"  {', '.join(f'{n} {name}' for name, n in counts.items())}: a network runs {runs} times")
            if options.fold:
                each = seconds_of_a_window(config)
                print(f"  one window of one fold: {each:.2f} s here, so {each * runs / 60:.0f} min a scan")
        print(f"  memory up to our part's end: {memory_mb:.0f} MB")


if __name__ == "__main__":
    main()
