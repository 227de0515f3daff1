"""GTRC-Net's published way on one scan, step by step, with files between the steps; run by `benchmarks.gtrc_whole`.

    python -m benchmarks.gtrc_published CASE CLONE TRACER OUT

Runs under a Python that has nnunetv2 and sees this package. Neither mirrors nor more folds than the clone has. Prints
seconds by step as JSON; ``networks`` is what nnU-Net's predictor spends inside the network.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np


def main(case: Path, clone: Path, tracer: str, out: Path) -> None:
    """One scan."""
    import SimpleITK as sitk

    seconds: dict[str, float] = {}
    began = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal began
        seconds[name] = time.perf_counter() - began
        began = time.perf_counter()

    pet, ct = (sitk.ReadImage(str(next((case / "images").glob(f"{tracer}-{what}/*")))) for what in ("pet*", "ct"))
    threshold = float(json.loads((case / f"{tracer}-pet-suv-threshold.json").read_text()))
    scaled = pet / threshold
    resampler = sitk.ResampleImageFilter()
    resampler.SetReferenceImage(pet)
    resampler.SetDefaultPixelValue(-1000)
    ct = resampler.Execute(ct)
    files = [str(out / f"{tracer}_000{n}.nii.gz") for n in range(2)]
    sitk.WriteImage(scaled, files[0])
    sitk.WriteImage(ct, files[1])
    lap("read, resample, write")
    seconds["networks"] = predict(clone, tracer, files, out / f"{tracer}.nii.gz")
    lap("nnU-Net")
    seconds["nnU-Net"] -= seconds["networks"]
    classes = sitk.GetArrayFromImage(sitk.ReadImage(str(out / f"{tracer}.nii.gz")))
    lap("read labels")

    from benchmarks.gtrc import published
    from deeppsma.core.tracer import Tracer
    from deeppsma.models.repositories import read_published_consensus

    consensus = read_published_consensus(clone / f"data/{tracer.upper()}/subregion_metrics", Tracer(tracer))
    ratio = sitk.GetArrayFromImage(scaled)
    z, y, x = pet.GetSpacing()[::-1]
    mask, steps = published(ratio, sitk.GetArrayFromImage(ct), classes == 1, classes == 2, (z, y, x), consensus)
    seconds |= steps
    began = time.perf_counter()
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.CopyInformation(pet)
    sitk.WriteImage(image, str(out / f"{tracer}-mask.nii.gz"))
    lap("write mask")
    print(json.dumps(seconds))


def predict(clone: Path, tracer: str, files: list[str], labels: Path) -> float:
    """What nnU-Net's command line does of its arguments; seconds inside the network."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor  # type: ignore[import-not-found]

    model = next(clone.glob(f"data/nnUNet_data/results/*_{tracer.upper()}_PET/*__3d_fullres"))
    predictor: Any = nnUNetPredictor(
        use_mirroring=False, device=torch.device("cpu"), perform_everything_on_device=False, allow_tqdm=False
    )
    # The predictor unpickles whole checkpoints; these are our own.
    folds = tuple(sorted(int(path.name[5:]) for path in model.glob("fold_*")))
    predictor.initialize_from_trained_model_folder(str(model), folds, "checkpoint_final.pth")
    inside, window = [], predictor._internal_maybe_mirror_and_predict

    def timed(x: Any) -> Any:
        began = time.perf_counter()
        answer = window(x)
        inside.append(time.perf_counter() - began)
        return answer

    predictor._internal_maybe_mirror_and_predict = timed
    predictor.predict_from_files(
        [files], [str(labels)], num_processes_preprocessing=1, num_processes_segmentation_export=1
    )
    return sum(inside)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
