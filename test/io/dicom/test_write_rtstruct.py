"""RTSTRUCT: every voxel comes back, through readers that know nothing of who wrote it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from builders.dicom_results import (
    ABOUT,
    errors,
    jittering,
    lesions,
    nasty_labels,
    oblique,
    rasterised,
    regions,
    source,
    tool,
    wide,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from deeppsma.io.dicom.result_object import save
from deeppsma.io.dicom.write_rtstruct import structure_set


def written(folder: Path, labels, edit=wide) -> Path:
    made = structure_set(source(folder / "pet", edit), lesions(labels), ABOUT)
    return save({"rtstruct": made}, folder / "out")[0]


@pytest.mark.parametrize("edit", [wide, oblique, jittering])
def test_no_voxel_is_lost_or_won(tmp_path, edit):
    labels = nasty_labels()
    path = written(tmp_path, labels, edit)
    found = rasterised(path, tmp_path / "pet")
    assert list(found) == [f"F{n}" for n in range(1, 8)]
    for n, mask in enumerate(found.values(), start=1):
        np.testing.assert_array_equal(mask, labels == n)


def test_a_planning_systems_rasteriser_finds_the_same_voxels(tmp_path):
    labels = nasty_labels()
    path = written(tmp_path, labels)
    command = [tool("plastimatch"), "convert", "--input", path, "--referenced-ct", tmp_path / "pet"]
    subprocess.run(
        [*command, "--output-prefix", tmp_path / "p", "--prefix-format", "mha"], check=True, capture_output=True
    )
    for n in range(1, 8):
        found = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "p" / f"F{n}.mha")))
        np.testing.assert_array_equal(found > 0, labels == n)


@pytest.fixture(scope="module")
def tilted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tilted")
    pet = source(folder / "pet", oblique, 3)
    return pet, {each.SOPInstanceUID: each for each in map(pydicom.dcmread, (folder / "pet").iterdir())}


@settings(max_examples=40, deadline=None)
@given(labels=arrays(np.uint16, (3, 16, 16), elements=st.integers(0, 2), fill=st.integers(0, 2)))
def test_any_label_map_comes_back(tilted, labels):
    pet, images = tilted
    for name, mask in regions(structure_set(pet, lesions(labels), ABOUT), images).items():
        if name.startswith("F"):
            np.testing.assert_array_equal(mask, labels == int(name[1:]))


@pytest.mark.parametrize("labels", [nasty_labels(), np.zeros((6, 16, 16), np.uint16)])
def test_it_is_valid(tmp_path, labels):
    assert errors(written(tmp_path, labels)) == []


def test_without_a_lesion_there_is_a_region_that_says_so(tmp_path):
    made = pydicom.dcmread(written(tmp_path, np.zeros((6, 16, 16), np.uint16)))
    assert [item.ROIName for item in made.StructureSetROISequence] == ["No lesion found"]
    assert "ContourSequence" not in made.ROIContourSequence[0]


def test_a_contour_of_more_than_64_kb_is_written_and_read(tmp_path):
    """Explicit VR has 16 bits for a decimal string's length."""

    def large(image) -> None:
        image.Rows = image.Columns = 128

    labels = np.zeros((3, 128, 128), np.uint16)
    labels[1, ::2] = 1
    labels[1, :, 0] = 1
    labels[1, 1::2, 3::2] = 1
    made = structure_set(source(tmp_path / "pet", large, 3), lesions(labels), ABOUT)
    longest = max(len("\\".join(map(str, c.ContourData))) for c in made.ROIContourSequence[0].ContourSequence)
    assert longest > 65536
    (path,) = save({"rtstruct": made}, tmp_path / "out")
    again = pydicom.dcmread(path).ROIContourSequence[0].ContourSequence
    for one, other in zip(made.ROIContourSequence[0].ContourSequence, again, strict=True):
        assert one.ContourData == other.ContourData
        assert 3 * other.NumberOfContourPoints == len(other.ContourData)


def test_it_refers_to_every_slice_of_the_pet(tmp_path):
    pet = source(tmp_path / "pet")
    made = structure_set(pet, lesions(nasty_labels()), ABOUT)
    (frame,) = made.ReferencedFrameOfReferenceSequence
    (series,) = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence
    assert series.SeriesInstanceUID == pet.series_uid
    uids = {item.ReferencedSOPInstanceUID for item in series.ContourImageSequence}
    assert uids == {pydicom.dcmread(path).SOPInstanceUID for path in (tmp_path / "pet").iterdir()}
    assert made.FrameOfReferenceUID == frame.FrameOfReferenceUID == pet.first.FrameOfReferenceUID
