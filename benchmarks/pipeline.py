"""Time and memory of the whole process, stage by stage, on any case.

    python -m benchmarks.pipeline CASE [CASE ...] [--recipe R] [--device D]
    python -m benchmarks.pipeline --largest FOLDER

A case is a platform input folder; if a folder ``truth`` lies beside it, the
masks are scored. ``--largest`` first makes a case of the largest geometry in
the real data set (PSMA PET 1261 x 512 x 512, FDG 1206 x 256 x 256).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deeppsma.core.geometry import Geometry
from deeppsma.core.resampling import resample
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.evaluation.scoring import score_result
from deeppsma.io.cohort import load_labelled
from deeppsma.io.grand_challenge import SOCKETS, THRESHOLD
from deeppsma.io.image_files import write_image
from deeppsma.io.result_folder import REPORT_NAME
from deeppsma.io.transform_files import to_challenge
from deeppsma.phantom.patient import draw_patient
from deeppsma.phantom.session import PhantomOptions

#: The largest PETs of the real data set, and label maps of a CT's plane on the same slices.
LARGEST_PET = {Tracer.PSMA: (1261, 512, 512), Tracer.FDG: (1206, 256, 256)}
CT_PLANE = 512


@dataclass(frozen=True)
class Measured:
    """One run of the whole process.

    Parameters
    ----------
    wall_s, cpu_s
        From start to exit, children included.
    peak_mb
        Largest resident size, MB.
    report
        The run report.
    """

    wall_s: float
    cpu_s: float
    peak_mb: float
    report: dict[str, Any]


def measure(case: Path, out: Path, recipe: str, device: str, weights: Path | None) -> Measured:
    """Run ``deeppsma segment`` as a process of its own."""
    command = [sys.executable, "-m", "deeppsma", "segment", str(case), str(out), "--recipe", recipe, "--device", device]
    if weights is not None:
        command += ["--weights", str(weights)]
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(process.returncode)
    report = json.loads((out / REPORT_NAME).read_text(encoding="utf-8"))
    return Measured(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6, report)


def print_measured(name: str, measured: Measured) -> None:
    """One block of lines per case."""
    print(f"\n{name}: {measured.wall_s:.1f} s wall, {measured.cpu_s:.1f} s CPU, peak {measured.peak_mb:.0f} MB")
    report = measured.report
    print(f"  {report['device']}; windows {report['windows']}; recipe {report['recipe']['name']}")
    stages = {**report["seconds"]}
    stages["start, write, exit"] = measured.wall_s - sum(stages.values())
    for stage, seconds in stages.items():
        print(f"  {stage:<20} {seconds:7.2f} s")
    for fallback in report["fallbacks"]:
        print(f"  fallback: {fallback}")


def print_scores(out: Path, case: Path) -> None:
    """DSC, FPV and FNV of a result of a case with truth."""
    for tracer, s in score_result(out, load_labelled(case)).items():
        print(f"  {tracer.upper():<5} DSC {s.dsc:.3f}  FPV {s.fpv_ml:.2f} ml  FNV {s.fnv_ml:.2f} ml")


def write_largest_case(folder: Path) -> Path:
    """A synthetic patient on the largest grids; returns his input folder."""
    patient = draw_patient(9000, PhantomOptions(ct="none"))
    for tracer, shape in LARGEST_PET.items():
        session = patient.sessions[tracer]
        fine = _finer(session.pet.geometry, shape)
        write_socket(folder, tracer, "pet", Volume(resample(Volume(session.pet.suv, session.pet.geometry), fine), fine))
        labels = Volume(session.organ_labels, session.organ_geometry)
        plane = _finer(session.pet.geometry, (shape[0], CT_PLANE, CT_PLANE))
        write_socket(folder, tracer, "organs", Volume(resample(labels, plane, labels=True), plane))
        hu = np.where(labels.voxels > 0, 40, -1000).astype(np.int16)
        ct = resample(Volume(hu, labels.geometry), plane, outside=-1000)
        write_socket(folder, tracer, "ct", Volume(ct, plane))
    for socket in SOCKETS:
        if not socket.is_image:
            is_threshold = socket.kind == THRESHOLD and socket.tracer is not None
            threshold = patient.sessions[socket.tracer].pet.threshold_suv if socket.tracer is not None else 0.0
            content: Any = threshold if is_threshold else to_challenge(patient.fdg_to_psma)
            (folder / socket.relative_path).write_text(json.dumps(content), encoding="utf-8")
    return folder


def write_socket(folder: Path, tracer: Tracer, kind: str, volume: Volume) -> None:
    """Write the image of one socket."""
    (socket,) = (s for s in SOCKETS if s.tracer is tracer and s.kind == kind)
    place = folder / socket.relative_path
    place.mkdir(parents=True, exist_ok=True)
    write_image(volume, place / f"{kind}.mha")


def _finer(grid: Geometry, shape_zyx: tuple[int, int, int]) -> Geometry:
    z, y, x = (n * s / m for n, s, m in zip(grid.shape_zyx, grid.spacing_zyx, shape_zyx, strict=True))
    return Geometry(shape_zyx, (z, y, x), grid.origin_xyz, grid.direction)


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", type=Path, metavar="CASE")
    parser.add_argument("--largest", type=Path, metavar="FOLDER", help="make the largest case there and measure it")
    parser.add_argument("--recipe", default="bothways_plus")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--weights", type=Path)
    options = parser.parse_args()
    cases = list(options.cases)
    if options.largest is not None:
        cases.append(write_largest_case(options.largest))
    for case in cases:
        with tempfile.TemporaryDirectory() as place:
            measured = measure(case, Path(place), options.recipe, options.device, options.weights)
            print_measured(str(case), measured)
            if (case.parent / "truth").is_dir():
                print_scores(Path(place), case.parent)


if __name__ == "__main__":
    main()
