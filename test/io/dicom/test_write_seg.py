"""SEG: every lesion is a segment, read back by highdicom, by dcmqi and by hand."""

from __future__ import annotations

import subprocess

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from builders.dicom_results import ABOUT, errors, jittering, lesions, nasty_labels, oblique, source, tool, wide

from deeppsma.io.dicom.result_object import save
from deeppsma.io.dicom.write_seg import segmentation

EMPTY = np.zeros((6, 16, 16), np.uint16)


def written(folder, labels, edit=wide):
    pet = source(folder / "pet", edit)
    (path,) = save({"seg": segmentation(pet, lesions(labels), ABOUT)}, folder / "out")
    return pet, path


@pytest.mark.parametrize("edit", [wide, oblique, jittering])
def test_frames_lie_where_the_slices_lie(tmp_path, edit):
    labels = nasty_labels()
    pet, path = written(tmp_path, labels, edit)
    made = pydicom.dcmread(path)
    place = {each.SOPInstanceUID: z for z, each in enumerate(pet.slices)}
    found = np.zeros((7, *labels.shape), bool)
    for pixels, frame in zip(made.pixel_array, made.PerFrameFunctionalGroupsSequence, strict=True):
        number = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        of = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        z = place[of]
        position = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        np.testing.assert_allclose(position, pet.origins_xyz[z], atol=1e-3)
        found[number - 1, z] = pixels > 0
    for n in range(1, 8):
        np.testing.assert_array_equal(found[n - 1], labels == n)


@pytest.mark.parametrize("edit", [wide, oblique])
def test_highdicom_reads_the_same_voxels(tmp_path, edit):
    labels = nasty_labels()
    pet, path = written(tmp_path, labels, edit)
    uids = [each.SOPInstanceUID for each in pet.slices]
    read = highdicom.seg.segread(path).get_pixels_by_source_instance(uids, ignore_spatial_locations=True)
    for n in range(1, 8):
        np.testing.assert_array_equal(read[..., n - 1] > 0, labels == n)


@pytest.mark.parametrize("edit", [wide, oblique])
def test_dcmqi_reads_the_same_voxels(tmp_path, edit):
    labels = nasty_labels()
    pet, path = written(tmp_path, labels, edit)
    command = [tool("segimage2itkimage"), "--inputDICOM", path, "--outputDirectory", tmp_path, "-t", "mha", "-p", "s"]
    subprocess.run(command, check=True, capture_output=True)
    grid = pet.geometry
    for n in range(1, 8):
        image = sitk.ReadImage(str(tmp_path / f"s-{n}.mha"))
        index = np.argwhere(sitk.GetArrayFromImage(image) > 0)
        world = np.array([image.TransformIndexToPhysicalPoint(tuple(map(int, zyx[::-1]))) for zyx in index])
        found = np.zeros(labels.shape, bool)
        at = grid.world_to_index(world)
        np.testing.assert_allclose(at, np.rint(at), atol=1e-3)
        found[tuple(np.rint(at).astype(int).T)] = True
        np.testing.assert_array_equal(found, labels == n)


@pytest.mark.parametrize("labels", [nasty_labels(), EMPTY])
def test_it_is_valid(tmp_path, labels):
    assert errors(written(tmp_path, labels)[1]) == []


def test_without_a_lesion_there_is_an_empty_segment_that_says_so(tmp_path):
    made = pydicom.dcmread(written(tmp_path, EMPTY)[1])
    assert [item.SegmentLabel for item in made.SegmentSequence] == ["No lesion found"]
    assert "TrackingUID" not in made.SegmentSequence[0]
    assert not made.pixel_array.any()
    assert made.NumberOfFrames == 6


def test_segments_carry_the_lesions_numbers(tmp_path):
    made = pydicom.dcmread(written(tmp_path, nasty_labels())[1])
    assert [item.TrackingID for item in made.SegmentSequence] == [f"F{n}" for n in range(1, 8)]
    assert made.SegmentSequence[0].SegmentLabel == "F1 bone, left humerus"
    assert made.SegmentSequence[0].AnatomicRegionSequence[0].CodeValue == "85050009"
    assert len({item.TrackingUID for item in made.SegmentSequence}) == 7
    assert made.SegmentsOverlap == "NO"


def test_hundreds_of_lesions(tmp_path):
    labels = np.zeros((6, 16, 16), np.uint16)
    labels.reshape(-1)[: 2 * 300 : 2] = np.arange(1, 301)
    _, path = written(tmp_path, labels)
    assert errors(path) == []
    assert len(pydicom.dcmread(path).SegmentSequence) == 300
