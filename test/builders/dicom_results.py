"""DICOM results made of small label maps, and readers of them that share nothing with what wrote them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from builders.dicom_files import Edit, write_pet
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from deeppsma.core.tracer import Tracer
from deeppsma.io.dicom.lesion_map import Code, LesionFigures, LesionMap
from deeppsma.io.dicom.result_source import Provenance, ResultSource
from deeppsma.io.dicom.study import open_patient

NOTICE = "Not for clinical use. Weights trained on: synthetic patients."
ABOUT = Provenance("ab12", "bothways", NOTICE, datetime(2026, 1, 2))
HUMERUS, LEFT = Code("85050009", "SCT", "Humerus"), Code("7771000", "SCT", "Left")
SIZE = 16


def tool(name: str) -> str:
    """Path of an independent program; without it a test is skipped, and says so."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: what it would check is NOT checked")
    return found


def errors(path: Path) -> list[str]:
    """What dciodvfy calls an error."""
    said = subprocess.run([tool("dciodvfy"), path], capture_output=True, text=True, check=False)
    lines = (said.stderr + said.stdout).splitlines()
    assert len(lines) >= 1, "dciodvfy names the kind of object at least"
    return [line for line in lines if line.startswith("Error")]


def wide(image) -> None:
    """Room for lesions."""
    image.Rows = image.Columns = SIZE


def oblique(image) -> None:
    """A tilted grid of wide and narrow voxels, slices from above down."""
    wide(image)
    turn = np.deg2rad(20)
    row, column = np.array([np.cos(turn), np.sin(turn), 0]), np.array([0, 0, -1.0])
    normal = np.cross(row, column)
    number = round((image.ImagePositionPatient[2] - 100) / 4)
    image.ImageOrientationPatient = [f"{v:.8g}" for v in (*row, *column)]
    image.ImagePositionPatient = [f"{v:.8g}" for v in np.array([-31.7, 12.3, 40.1]) - 3.3 * number * normal]
    image.PixelSpacing, image.SliceThickness = [2.7, 4.1], 3.3


def jittering(image) -> None:
    """Steps as of a real table: 0.04 mm to and fro."""
    wide(image)
    number = round((image.ImagePositionPatient[2] - 100) / 4)
    image.ImagePositionPatient = [-16, -16, round(100 + 4 * number + (0.04 if number % 2 else 0), 3)]


def source(folder: Path, edit: Edit = wide, count: int = 6, pseudonym: str = "") -> ResultSource:
    """An FDG PET written to ``folder`` and opened."""
    if not folder.exists():
        write_pet(folder, edit, count)
    return ResultSource.of(Tracer.FDG, open_patient(folder).pet(Tracer.FDG), pseudonym)


def nasty_labels(count: int = 6) -> NDArray[np.uint16]:
    """Lesions that touch, with holes, corners in contact, single voxels, and one at every border."""
    labels = np.zeros((count, SIZE, SIZE), np.uint16)
    labels[1:4, 2:9, 2:8] = 1
    labels[2, 4:6, 4:6] = 0  # a hole
    labels[2, 7, 6] = 0  # another, and
    labels[3, 3, 3] = labels[3, 4, 4] = 0  # two that touch at a corner
    labels[1, 8, 7] = labels[1, 2, 2] = 0  # corners missing
    labels[1:3, 2:9, 8:11] = 2  # side by side with the first
    labels[2, 4:6, 4:5] = 3  # within the first's hole
    labels[4, 10, 10] = labels[4, 11, 11] = labels[4, 12, 10] = 4  # corners only
    labels[5, 0:16, 15] = 5
    labels[0, 15, 0:9] = 6
    labels[0, 0, 0] = 7
    return labels


def lesions(labels: NDArray, place: str = "bone, left humerus") -> LesionMap:
    """A label map's lesions with figures that tell them apart."""
    found = tuple(
        LesionFigures(f"F{n}", place, float((labels == n).sum()), 9.0 + n, 4.0 + n, 8.0 + n, 100.0 + n, HUMERUS, LEFT)
        for n in range(1, int(labels.max(initial=0)) + 1)
    )
    return LesionMap(found, labels, 2.5)


def rasterised(path: Path, pet: Path) -> dict[str, NDArray[np.bool_]]:
    """An RTSTRUCT's regions by name, as [slice along the normal, row, column] of a PET folder.

    Own geometry, from the PET's files alone; scikit-image decides what lies inside. Voxels inside several contours of a
    region are counted: more than once is an error here.
    """
    images = {each.SOPInstanceUID: each for each in map(pydicom.dcmread, sorted(pet.glob("*.dcm")))}
    return regions(pydicom.dcmread(path), images)


def regions(made: Dataset, images: dict[str, Dataset]) -> dict[str, NDArray[np.bool_]]:
    """As `rasterised`, with both read already."""
    from skimage.measure import points_in_poly

    normal = np.cross(*np.array(next(iter(images.values())).ImageOrientationPatient, float).reshape(2, 3))
    order = sorted(images, key=lambda uid: float(np.array(images[uid].ImagePositionPatient, float) @ normal))
    names = {item.ROINumber: item.ROIName for item in made.StructureSetROISequence}
    out = {}
    for roi in made.ROIContourSequence:
        first = images[order[0]]
        counts = np.zeros((len(order), first.Rows, first.Columns), int)
        for contour in roi.get("ContourSequence", []):
            uid = contour.ContourImageSequence[0].ReferencedSOPInstanceUID
            image = images[uid]
            cosines = np.array(image.ImageOrientationPatient, float).reshape(2, 3)
            offset = np.array(contour.ContourData, float).reshape(-1, 3) - np.array(image.ImagePositionPatient, float)
            assert np.abs(offset @ np.cross(*cosines)).max() < 1e-3, "a contour lies on its image's plane"
            x, y = (offset @ cosines.T / np.array(image.PixelSpacing, float)[::-1]).T
            rows = slice(max(0, int(y.min())), int(y.max()) + 2)
            columns = slice(max(0, int(x.min())), int(x.max()) + 2)
            part = counts[order.index(uid), rows, columns]
            grid = np.argwhere(np.ones(part.shape)) + np.array([rows.start, columns.start])
            part += points_in_poly(grid, np.column_stack([y, x])).reshape(part.shape)
        assert counts.max(initial=0) <= 1, "contours of a region do not overlap"
        out[names[roi.ReferencedROINumber]] = counts > 0
    return out
