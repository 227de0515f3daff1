"""What DICOM costs: the same synthetic patients in the platform's layout and as two DICOM studies.

    python -m benchmarks.round_trip [--seeds 9001 ...] [--recipe R]

Each patient is written in both layouts. The masks of the platform's layout are held against those of the DICOM files,
once with the case's FDG threshold and transform given (``--fdg-threshold``, ``--registration``: what is left is the 16
bits of a slice, and SUV's derivation), once with both found from the files alone, as in a hospital.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deeppsma import Case, Tracer, load_case, segment
from deeppsma.core.defaults import DEFAULT_RECIPE
from deeppsma.io.transform_files import read_tfm
from deeppsma.phantom.patient import draw_patient
from deeppsma.phantom.session import PhantomOptions
from deeppsma.phantom.write_cohort import write_patient
from deeppsma.preprocessing.dicom_case import DicomOptions, open_case


def masks(case: Case, recipe: str) -> dict[Tracer, NDArray[np.bool_]]:
    """Masks of a case, by tracer."""
    found = segment(case, recipe)
    return {tracer: found.masks[tracer].voxels > 0 for tracer in case.tracers}


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """DSC; 1 where both are empty."""
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else 1.0


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[9001])
    parser.add_argument("--recipe", default=DEFAULT_RECIPE)
    options = parser.parse_args()
    print("| seed | DICOM | tracer | voxels, platform | voxels, DICOM | DSC | FDG threshold, platform | DICOM |")
    print("| ---: | --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for seed in options.seeds:
        patient = draw_patient(seed, PhantomOptions(ct="pet"))
        with tempfile.TemporaryDirectory() as temporary:
            platform, dicom = Path(temporary) / "platform", Path(temporary) / "dicom"
            write_patient(patient, platform, "platform")
            write_patient(patient, dicom, "dicom")
            plain = load_case(platform / "input")
            wanted = masks(plain, options.recipe)
            thresholds = {Tracer.FDG: plain.thresholds[Tracer.FDG]}
            given = DicomOptions(thresholds_suv=thresholds, fdg_to_psma=read_tfm(dicom / "truth/fdg_to_psma.tfm"))
            for how, said in (("threshold and transform given", given), ("alone", DicomOptions())):
                case = open_case(dicom / "input", said)
                found = masks(case, options.recipe)
                for tracer in Tracer:
                    counts = f"{int(wanted[tracer].sum())} | {int(found[tracer].sum())}"
                    score = dice(wanted[tracer], found[tracer])
                    limits = f"{thresholds[Tracer.FDG]:.3f} | {case.thresholds[Tracer.FDG]:.3f}"
                    print(f"| {seed} | {how} | {tracer.upper()} | {counts} | {score:.4f} | {limits} |", flush=True)


if __name__ == "__main__":
    main()
