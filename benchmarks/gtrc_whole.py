"""The whole of GTRC-Net on a case, as published and here: same plans, same weights, same machine, one run.

    python -m benchmarks.gtrc_whole CASE GTRC --nnunet-python PYTHON [--features 2] [--folds 1]

CASE is a platform input folder. GTRC holds the authors' plans and consensus networks
(``Dataset881_PSMA_PET/plans.json``, ``Dataset882_FDG_PET/plans.json``, ``{PSMA,FDG}/fold_*``); networks get random
weights, as narrow as ``--features`` says: what is compared is everything but the networks. Nothing is mirrored. PYTHON
is one of an environment that has nnunetv2 and this one's packages.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.gtrc_stand_in import TRAINER, write_model_folder
from deeppsma.core.tracer import Tracer

_DATASETS = {Tracer.PSMA: "Dataset881_PSMA_PET", Tracer.FDG: "Dataset882_FDG_PET"}


def write_narrow_clone(folder: Path, gtrc: Path, features: int, folds: int) -> Path:
    """A clone of the authors' plans and consensus networks, with narrow random networks."""
    for number, (tracer, dataset) in enumerate(_DATASETS.items()):
        plans = json.loads((gtrc / dataset / "plans.json").read_text())
        network = plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
        network["features_per_stage"] = [min(features * 2**n, 10 * features) for n in range(network["n_stages"])]
        place = folder / "data/nnUNet_data/results" / dataset / TRAINER
        write_model_folder(place, plans, ("noNorm", "CT"), ("background", "ttb", "norm"), folds, number)
        for fold in sorted((gtrc / tracer.upper()).glob("fold_*")):
            copy = folder / "data" / tracer.upper() / "subregion_metrics" / fold.name
            copy.mkdir(parents=True)
            shutil.copyfile(fold / "consensus_model.keras", copy / "consensus_model.keras")
    return folder


def run(command: list[Any]) -> tuple[str, float, float]:
    """Output, wall seconds and processor seconds of a program, its children included."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run([str(each) for each in command], capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stderr or done.stdout)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.stdout, time.monotonic() - began, cpu


def published(case: Path, clone: Path, python: Path, out: Path) -> tuple[float, float]:
    """Run the published way on both scans, print; seconds outside of the networks, and in foci."""
    outside = foci = 0.0
    for tracer in Tracer:
        said, wall, cpu = run([python, "-m", "benchmarks.gtrc_published", case, clone, tracer.value, out])
        seconds = json.loads(said.strip().splitlines()[-1])
        stages = ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())
        print(f"published, {tracer.upper()}: {wall:.1f} s ({cpu:.1f} s of processor): {stages}", flush=True)
        outside += wall - seconds["networks"]
        foci += seconds["foci"] + seconds["measurements"] + seconds["votes"]
    return outside, foci


def here(case: Path, clone: Path, out: Path) -> tuple[float, float, int]:
    """The same here: seconds outside of the networks, in foci, and peak memory (MB)."""
    command = ["-m", "deeppsma", "segment", case, out, "--weights", clone, "--recipe", "gtrc", "--no-mirror"]
    _, wall, cpu = run([sys.executable, *command, "--device", "cpu"])
    report = json.loads((out / "run_report.json").read_text())
    stages = ", ".join(f"{name} {value:.1f} s" for name, value in report["seconds"].items() if value >= 0.1)
    print(f"here, both: {wall:.1f} s ({cpu:.1f} s of processor): {stages}; windows {report['windows']}", flush=True)
    return wall - report["seconds"]["network"], report["seconds"]["foci"], report["peak_memory_mb"]


def differing(published_out: Path, out: Path) -> str:
    """Voxels of the masks that differ."""
    import SimpleITK as sitk

    lines = []
    for tracer in Tracer:
        one = sitk.GetArrayFromImage(sitk.ReadImage(str(published_out / f"{tracer}-mask.nii.gz"))) > 0
        other = sitk.GetArrayFromImage(sitk.ReadImage(str(next(out.glob(f"images/{tracer}-pet-ttb/*"))))) > 0
        lines.append(f"{tracer.upper()} {int((one != other).sum())} of {int(one.sum())}")
    return ", ".join(lines)


def main() -> None:
    """Parse the command line, run both, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", type=Path, metavar="CASE")
    parser.add_argument("gtrc", type=Path, metavar="GTRC")
    parser.add_argument("--nnunet-python", type=Path, required=True, metavar="PYTHON")
    parser.add_argument("--features", type=int, default=2, help="on the networks' first level (default 2; theirs: 32)")
    parser.add_argument("--folds", type=int, default=1, help="(default 1; theirs: 5)")
    options = parser.parse_args()
    os.environ |= {"nnUNet_raw": "", "nnUNet_preprocessed": "", "nnUNet_results": ""}
    os.environ["PYTHONPATH"] = os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        clone = write_narrow_clone(folder / "clone", options.gtrc, options.features, options.folds)
        mine = here(options.case, clone, folder / "here")
        (folder / "published").mkdir()
        theirs = published(options.case, clone, options.nnunet_python, folder / "published")
        difference = differing(folder / "published", folder / "here")
        print(f"outside the networks: published {theirs[0]:.1f} s, here {mine[0]:.1f} s ({mine[0] / theirs[0]:.3f})")
        print(f"foci, measurements, votes, both scans: published {theirs[1]:.1f} s, here {mine[1]:.2f} s")
        print(f"here at most {mine[2]} MB; voxels of the masks that differ: {difference}")


if __name__ == "__main__":
    main()
