"""NIfTI headers: what ITK reads in its own way is refused, or said."""

import gzip
import struct

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from deeppsma.core.errors import InputError
from deeppsma.core.geometry import Geometry
from deeppsma.core.transforms import rotation_matrix
from deeppsma.core.volume import Volume
from deeppsma.io.image_files import ImageFile, write_image
from deeppsma.io.nifti_header import read_nifti_header

VOXELS = np.random.default_rng(0).random((6, 5, 4), dtype=np.float32)
DIM, INTENT, TYPE, BITPIX, PIXDIM, OFFSET, SLOPE, UNITS, CODES = 40, 68, 70, 72, 76, 108, 112, 123, 252
QUATERNION, QOFFSET, SFORM, MAGIC = 256, 268, 280, 344
NAN, INF = float("nan"), float("inf")


def image(tmp_path, *edits):
    """An image with some of its header's fields overwritten: (offset, format, values...)."""
    path = tmp_path / "a.nii"
    write_image(Volume(VOXELS, Geometry(VOXELS.shape, (4, 3, 2), (1, 2, 3))), path)
    content = bytearray(path.read_bytes())
    for offset, kind, *values in edits:
        struct.pack_into(f"<{kind}", content, offset, *values)
    path.write_bytes(bytes(content))
    return ImageFile(path)


@given(
    st.tuples(*[st.floats(-180, 180)] * 3),
    st.tuples(*[st.floats(0.5, 5)] * 3),
    st.tuples(*[st.floats(-500, 500)] * 3),
    st.sampled_from([(1, 1), (0, 1), (1, 0)]),
)
def test_position_as_nibabel_has_it(turn, spacing, origin, codes):
    affine = np.eye(4)
    affine[:3, :3] = rotation_matrix(turn) * spacing
    affine[:3, 3] = origin
    made = nibabel.Nifti1Image(np.zeros((4, 5, 6), np.float32), affine)
    made.header.set_xyzt_units("mm")
    made.set_qform(affine, codes[0])
    made.set_sform(affine, codes[1])
    header = read_nifti_header(made.to_bytes()[:352])
    wanted = np.diag([-1, -1, 1, 1]) @ affine
    assert np.allclose(header.origin_xyz, wanted[:3, 3], atol=1e-3)
    assert np.allclose(np.reshape(header.direction, (3, 3)) * header.spacing_xyz, wanted[:3, :3], atol=3e-3)
    assert header.unsaid == ()


@pytest.mark.parametrize("turn", [(180, 0, 0), (0, 180, 1e-2), (180, 1, 0), (179.99, 0, 0), (90, 90, 90), (1, 2, 3)])
def test_a_quaternion_is_read_as_itk_reads_it(tmp_path, turn):
    affine = np.eye(4)
    affine[:3, :3] = rotation_matrix(turn) * [2, 3, 4]
    made = nibabel.Nifti1Image(VOXELS.T, affine)
    made.header.set_xyzt_units("mm")
    made.set_qform(affine, 1)
    made.set_sform(affine, 0)
    nibabel.save(made, tmp_path / "a.nii")
    assert np.array_equal(ImageFile(tmp_path / "a.nii").read().voxels, VOXELS)  # ITK's, and no contradiction


def test_a_position_is_read_as_itk_reads_it(tmp_path):
    grid = Geometry(VOXELS.shape, (4, 3, 2), (1, 2, 3), tuple(rotation_matrix([5, 9, -3]).ravel()))
    write_image(Volume(VOXELS, grid), tmp_path / "a.nii.gz")
    assert ImageFile(tmp_path / "a.nii.gz").geometry.same_grid(grid)  # ITK's, and no contradiction


@pytest.mark.parametrize(
    ("edits", "said"),
    [
        ([(CODES, "hh", 0, 0)], "holds no position"),
        ([(UNITS, "B", 0)], "no unit of length"),
        ([(QOFFSET, "f", 9.0)], "sform and qform disagree"),
        ([(QUATERNION, "f", NAN)], "sform and qform disagree"),
        ([(QUATERNION, "f", 2.0)], "sform and qform disagree"),
        ([(PIXDIM, "f", 5.0)], "sform and qform disagree"),
    ],
)
def test_what_is_left_open_is_said(tmp_path, edits, said):
    assert said in image(tmp_path, *edits).unsaid_position


@pytest.mark.parametrize(
    ("edits", "said"),
    [
        ([(PIXDIM + 4, "f", 0.0)], "pixdim is"),
        ([(PIXDIM + 4, "f", NAN)], "pixdim is"),
        ([(PIXDIM + 4, "f", -2.0)], "pixdim is"),
        ([(PIXDIM + 4, "f", 2.5)], "its sform says voxels of"),
        ([(SFORM, "f", 2.5)], "its sform says voxels of"),
        ([(SFORM + 4, "f", NAN)], "NaN or infinite"),
        ([(SFORM, "12f", -2, 1.5, 0, 0, 0, -2.598, 0, 0, 0, 0, 4, 0)], "sheared"),
        ([(CODES, "hh", 1, 0), (QUATERNION, "f", NAN)], "the qform, is broken"),
        ([(OFFSET, "f", 0.0)], "vox_offset is 0"),
        ([(OFFSET, "f", 348.0)], "vox_offset is 348"),
        ([(OFFSET, "f", 352.5)], "vox_offset is 352.5"),
        ([(OFFSET, "f", NAN)], "vox_offset is nan"),
        ([(OFFSET, "f", 1e30)], "bytes are missing"),
        ([(OFFSET, "f", 356.0)], "4 bytes are missing"),
        ([(SLOPE, "f", NAN)], "scl_slope is nan"),
        ([(SLOPE, "ff", 1.0, INF)], "scl_inter inf"),
        ([(SLOPE, "ff", 0.0, 5.0)], "scl_slope is 0"),
        ([(BITPIX, "h", 16)], "bitpix is 16"),
        ([(TYPE, "h", 4)], "bitpix is 32"),
        ([(TYPE, "hh", 4, 16)], "more than its header tells of"),
        ([(TYPE, "h", 77)], "datatype is 77"),
        ([(TYPE, "hh", 128, 24)], "3 values per voxel"),
        ([(UNITS, "B", 5)], "no unit of length"),
        ([(UNITS, "B", 1)], "in mm"),
        ([(DIM, "h", 2)], "2-D image"),
        ([(DIM, "h", 0)], "dim is"),
        ([(DIM, "5h", 4, 4, 5, 3, 2)], "4-D image"),
        ([(DIM + 2, "h", -4)], "dim is"),
        ([(DIM + 6, "h", 5)], "more than its header tells of"),
        ([(MAGIC, "4s", b"ni1\0")], "no NIfTI-1"),
        ([(MAGIC, "4s", bytes(4))], "no NIfTI-1"),
        ([(0, "i", 540), (4, "4s", b"n+2\0")], "NIfTI-2"),
        ([(0, "i", 540)], "NIfTI-2"),
        ([(0, "i", 7)], "no NIfTI-1"),
        ([(INTENT, "h", 1007)], "and of another"),
    ],
)
def test_what_is_broken_or_contradicts_itself_is_refused(tmp_path, edits, said):
    with pytest.raises(InputError, match=r"a\.nii") as caught:
        image(tmp_path, *edits).read()
    assert said in str(caught.value)


def test_a_fourth_axis_of_one_is_none(tmp_path):
    assert np.array_equal(image(tmp_path, (DIM, "h", 4)).read().voxels, VOXELS)


def test_rescaled_values_are_read_rescaled(tmp_path):
    whole = sitk.GetImageFromArray(np.arange(120, dtype=np.int16).reshape(6, 5, 4))
    sitk.WriteImage(whole, str(tmp_path / "a.nii"))
    content = bytearray((tmp_path / "a.nii").read_bytes())
    struct.pack_into("<ff", content, SLOPE, 0.5, 3.0)
    (tmp_path / "a.nii").write_bytes(bytes(content))
    assert np.array_equal(ImageFile(tmp_path / "a.nii").read().voxels.ravel(), np.arange(120) * 0.5 + 3)


def test_a_big_endian_file_is_read(tmp_path):
    made = nibabel.Nifti1Image(VOXELS.T.astype(">f4"), np.diag([-2, -3, 4, 1]), nibabel.Nifti1Header(endianness=">"))
    made.header.set_xyzt_units("mm")
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(made.to_bytes()))
    assert made.header.endianness == ">"
    assert np.array_equal(ImageFile(tmp_path / "a.nii.gz").read().voxels, VOXELS)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_file_that_ends_within_its_header(tmp_path, name):
    content = gzip.compress(bytes(100)) if name.endswith("gz") else bytes(100)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="ends within its header"):
        _ = ImageFile(tmp_path / name).geometry
