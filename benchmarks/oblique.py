"""What masks lose where a PET is stored on an oblique grid.

    python -m benchmarks.oblique CASE [CASE ...] [--degrees 5 10 20] [--recipe R]

CASE is any case. Both PETs are resampled linearly to a grid that is turned about its own centre, about all three axes
at once, and the case is segmented there. Compared, on the oblique grid: the mask found, and the plain run's mask
resampled to it (nearest). ``interpolation`` is what no network can keep: the plain mask against itself after voxels
that fall below the threshold on the resampled PET are taken away and hot voxels that touch it are given back.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from deeppsma import Case, Geometry, Segmentation, Tracer, Volume, load_case, segment
from deeppsma.core.resampling import resample
from deeppsma.core.transforms import rotation_matrix
from deeppsma.io.case import MemoryImage


def turned(grid: Geometry, degrees: float) -> Geometry:
    """A grid turned about its centre, ``degrees`` in all, shared by the three axes."""
    share = degrees / np.sqrt(3)
    rotation = rotation_matrix((share, share, share))
    centre = grid.corners_world().mean(axis=0)
    x, y, z = (float(v) for v in centre + rotation @ (np.array(grid.origin_xyz) - centre))
    return replace(grid, origin_xyz=(x, y, z), direction=tuple((rotation @ grid.direction_matrix).ravel().tolist()))


def oblique(case: Case, degrees: float) -> Case:
    """The case with both PETs on turned grids."""
    studies = {}
    for tracer, study in case.studies.items():
        pet = study.read_pet()
        grid = turned(pet.geometry, degrees)
        image = MemoryImage(Volume(resample(pet, grid), grid), study.pet.path)
        studies[tracer] = replace(study, pet=image, truth=None)
    return replace(case, studies=studies)


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """DSC; 1 where both are empty."""
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else 1.0


def compare(case: Case, plain: Segmentation, degrees: float, recipe: str) -> dict[Tracer, tuple[float, float]]:
    """By tracer: DSC of the oblique run, and of interpolation alone."""
    tilted = oblique(case, degrees)
    found = segment(tilted, recipe)
    out = {}
    for tracer in case.tracers:
        grid = found.masks[tracer].geometry
        wanted = resample(plain.masks[tracer], grid, labels=True) > 0
        hot = tilted.study(tracer).read_pet().voxels >= np.float32(case.thresholds[tracer])
        near = ndimage.binary_dilation(wanted, np.ones((3, 3, 3), bool))
        out[tracer] = (dice(found.masks[tracer].voxels > 0, wanted), dice(near & hot, wanted))
    return out


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="+", type=Path)
    parser.add_argument("--degrees", nargs="+", type=float, default=[5.0, 10.0, 20.0])
    parser.add_argument("--recipe", default="bothways")
    options = parser.parse_args()
    print("| case | degrees | PSMA DSC | interpolation alone | FDG DSC | interpolation alone |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for folder in options.cases:
        case = load_case(folder)
        plain = segment(case, options.recipe)
        for degrees in options.degrees:
            found = compare(case, plain, degrees, options.recipe)
            cells = " | ".join(f"{value:.3f}" for tracer in Tracer for value in found[tracer])
            print(f"| {case.name} | {degrees:g} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
