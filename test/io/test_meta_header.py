"""MHA headers: what ITK reads in its own way is refused, or said."""

import numpy as np
import pytest
import SimpleITK as sitk

from deeppsma.core.errors import InputError
from deeppsma.io.image_files import ImageFile

VOXELS = np.random.default_rng(0).random((6, 5, 4), dtype=np.float32)
HEAD = b"""ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
CompressedData = False
TransformMatrix = 0 1 0 1 0 0 0 0 -1
Offset = 1 2 3
CenterOfRotation = 0 0 0
AnatomicalOrientation = RAI
ElementSpacing = 2 3 4
DimSize = 4 5 6
ElementType = MET_FLOAT
ElementDataFile = LOCAL
"""


def image(tmp_path, old=b"", new=b"", voxels=VOXELS):
    assert old in HEAD
    path = tmp_path / "a.mha"
    path.write_bytes(HEAD.replace(old, new, 1) + voxels.tobytes())
    return ImageFile(path)


def test_by_hand(tmp_path):
    read = image(tmp_path)
    assert read.geometry.shape_zyx == (6, 5, 4)
    assert read.geometry.spacing_zyx == (4, 3, 2)
    assert read.geometry.origin_xyz == (1, 2, 3)
    assert read.geometry.direction == (0, 1, 0, 1, 0, 0, 0, 0, -1)
    assert read.unsaid_position is None
    assert np.array_equal(read.read().voxels, VOXELS)


def test_an_image_that_came_from_nifti_passes(tmp_path):
    """SimpleITK copies NIfTI's fields into the MHA header that it writes."""
    nifti = sitk.GetImageFromArray(VOXELS.astype(np.float64))
    nifti.SetSpacing((2, 3, 4))
    sitk.WriteImage(nifti, str(tmp_path / "a.nii.gz"))
    again = sitk.ReadImage(str(tmp_path / "a.nii.gz"), sitk.sitkFloat32)
    sitk.WriteImage(again, str(tmp_path / "b.mha"), useCompression=True)
    assert b"vox_offset" in (tmp_path / "b.mha").read_bytes()
    assert np.array_equal(ImageFile(tmp_path / "b.mha").read().voxels, VOXELS)


@pytest.mark.parametrize("stray", [b"bitpix = 32", b"bitpix = x", b"vox_offset = nan", b"pixdim[1] =", b"dim = 9"])
def test_stray_nifti_fields_mean_nothing(tmp_path, stray):
    read = image(tmp_path, b"ElementSpacing", stray + b"\nElementSpacing")
    assert np.array_equal(read.read().voxels, VOXELS)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Offset", b"Position"),
        (b"Offset", b"Origin"),
        (b"TransformMatrix", b"Rotation"),
        (b"TransformMatrix", b"Orientation"),
        (b"ElementSpacing", b"ElementSize"),
        (b"ElementSpacing", b"\nComment = a = b\nElementSpacing"),
        (b"ElementSpacing = 2 3 4", b"  ElementSpacing\t=  2.0   3e0\t4 "),
        (b"ObjectType = Image\n", b""),
        (b"LOCAL", b"local"),
        (b"ElementSpacing", b"HeaderSize = -1\nElementSpacing"),
        (b"ElementSpacing", b"DistanceUnits = mm\nElementSpacing"),
        (b"ElementSpacing", b"ElementToIntensityFunctionSlope = 1\nElementSpacing"),
    ],
)
def test_other_spellings_of_the_same(tmp_path, old, new):
    plain = image(tmp_path).geometry
    read = image(tmp_path, old, new)
    assert read.geometry == plain
    assert read.unsaid_position is None
    assert np.array_equal(read.read().voxels, VOXELS)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"ElementSpacing = 2 3 4\n", "no ElementSpacing, voxels of 1 mm assumed"),
        (b"Offset = 1 2 3\n", "no Offset, 0 assumed"),
        (b"TransformMatrix = 0 1 0 1 0 0 0 0 -1\n", "no TransformMatrix, upright axes assumed"),
    ],
)
def test_what_is_left_out_is_said(tmp_path, line, said):
    assert said in image(tmp_path, line).unsaid_position


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b"ElementSpacing = 2", b"ElementSpacing = nan", "ElementSpacing is"),
        (b"ElementSpacing = 2", b"ElementSpacing = 2mm", "ElementSpacing is"),
        (b"ElementSpacing = 2", b"ElementSpacing = 2_0", "ElementSpacing is"),
        (b"ElementSpacing = 2", b"ElementSpacing = -2", "above 0"),
        (b"ElementSpacing = 2 3 4", b"ElementSpacing = 2,3,4", "ElementSpacing is"),
        (b"ElementSpacing = 2", b"ElementSpacing 2", "no 'Key = Value'"),
        (b"ElementSpacing = 2", b"ElementSpacing = 2 2", "ElementSpacing is"),
        (b"ElementSpacing", b"elementspacing", "ElementSpacing is meant"),
        (b"ElementSpacing", b"ElementSpacing = 5 5 5\nElementSpacing", "ElementSpacing twice"),
        (b"Offset = 1", b"Offset = nan", "Offset is"),
        (b"Offset = 1", b"Offset = inf", "Offset is"),
        (b"Offset = 1 2 3", b"Offset = 1 2", "Offset is"),
        (b"Offset", b"Position = 4 5 6\nOffset", "mean the same"),
        (b"TransformMatrix = 0", b"TransformMatrix = x", "TransformMatrix is"),
        (b"TransformMatrix = 0", b"TransformMatrix = 1", "not orthonormal"),
        (b"DimSize = 4 5 6", b"DimSize = 4.5 5 6", "DimSize is"),
        (b"DimSize = 4 5 6", b"DimSize = 4 5", "DimSize is"),
        (b"DimSize = 4 5 6", b"DimSize = 4 5 -6", "3-D image of size"),
        (b"DimSize = 4 5 6\n", b"", "DimSize is"),
        (b"NDims = 3", b"NDims = x", "NDims is"),
        (b"NDims = 3", b"NDims = 99", "NDims is"),
        (b"MET_FLOAT", b"MET_OTHER", "ElementType is"),
        (b"MET_FLOAT", b"met_float", "ElementType is"),
        (b"ElementSpacing", b"ElementNumberOfChannels = 2\nElementSpacing", "2 values per voxel"),
        (b"ElementSpacing", b"ElementNumberOfChannels = 0\nElementSpacing", "ElementNumberOfChannels is 0"),
        (b"BinaryData = True", b"BinaryData = False", "written as text"),
        (b"BinaryData = True", b"BinaryData = Maybe", "neither True nor False"),
        (b"CompressedData = False", b"CompressedData = No", "neither True nor False"),
        (b"CompressedData = False", b"CompressedData = True\nCompressedDataSize = -1", "CompressedDataSize is -1"),
        (b"CompressedData = False", b"CompressedData = True\nHeaderSize = -1", "HeaderSize -1 of compressed"),
        (b"ElementSpacing", b"HeaderSize = 7\nElementSpacing", "bytes to be passed over"),
        (b"ElementSpacing", b"ElementToIntensityFunctionSlope = 3\nElementSpacing", "as they are stored"),
        (b"ElementSpacing", b"DistanceUnits = um\nElementSpacing", "not mm"),
        (b"ObjectType = Image", b"ObjectType = Tube", "not Image"),
        (b"LOCAL", b"LIST", "another file"),
        (b"LOCAL", b"other.raw", "another file"),
        (b"ElementDataFile = LOCAL\n", b"", "no 'Key = Value'"),
    ],
)
def test_what_readers_would_take_in_different_ways_is_refused(tmp_path, old, new, said):
    with pytest.raises(InputError, match=r"a\.mha") as caught:
        image(tmp_path, old, new).read()
    assert said in str(caught.value)


def test_a_header_without_end_is_not_read_on(tmp_path):
    (tmp_path / "a.mha").write_bytes(b"Comment = " + b"x" * (1 << 20))
    with pytest.raises(InputError, match="header does not end"):
        _ = ImageFile(tmp_path / "a.mha").geometry
