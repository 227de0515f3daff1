"""Series as image sources: order, grid, rescaling, compressed syntaxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from builders.dicom_files import ct_slice, edited, image_slice, pet_slice, write_ct, write_pet, write_slices
from pydicom import dcmread
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from deeppsma.core.errors import InputError
from deeppsma.io.dicom.files import scan_folder
from deeppsma.io.dicom.series import DicomSeries, group_series, open_series
from deeppsma.io.dicom.suv import SuvDerivation, derive_suv


def opened(folder: Path) -> DicomSeries:
    (files,) = group_series(scan_folder(folder).headers)
    return open_series(files)


def test_slices_are_ordered_by_position_whatever_the_files_are_called(tmp_path: Path) -> None:
    images = [pet_slice(number, 5) for number in (3, 0, 4, 1, 2)]
    series = opened(write_slices(tmp_path, images))
    assert series.geometry.origin_xyz == (-16.0, -16.0, 100.0)
    assert series.geometry.spacing_zyx == (4.0, 4.0, 4.0)
    # Files were numbered as written: 1000 times the place in the list.
    assert series.read().voxels[:, 1, 1].tolist() == [2000, 4000, 5000, 1000, 3000]


def test_each_slice_has_its_own_slope(tmp_path: Path) -> None:
    images = [pet_slice(number, 3) for number in range(3)]
    for number, image in enumerate(images):
        image.RescaleSlope = 1.5 + number
    series = opened(write_slices(tmp_path, images))
    assert series.read().voxels[:, 1, 1].tolist() == [1500, 5000, 10500]


def test_suv_is_stored_value_times_slope_times_factor(tmp_path: Path) -> None:
    series = opened(write_pet(tmp_path, edited(RescaleSlope=2.0)))
    suv = derive_suv(series.stack.headers)
    assert series.in_suv(suv).read().voxels[2, 1, 1] == pytest.approx(3000 * 2 * suv.factors[2], rel=1e-6)
    with pytest.raises(ValueError, match="1 SUV factors for 4 slices"):
        series.in_suv(SuvDerivation((1.0,), "GML", ""))


def test_a_ct_is_whole_hounsfield_units(tmp_path: Path) -> None:
    volume = opened(write_ct(tmp_path)).read()
    assert volume.voxels.dtype == np.int16
    assert volume.voxels[0, 0, 0] == -1024
    assert opened(tmp_path).read(np.float32).voxels.dtype == np.float32


def test_a_ct_beyond_sixteen_bits_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give the CT in Hounsfield units"):
        opened(write_ct(tmp_path, edited(RescaleSlope=20.0))).read()


def test_a_ct_with_a_broken_slope_is_real_numbers(tmp_path: Path) -> None:
    assert opened(write_ct(tmp_path, edited(RescaleSlope=0.5))).read().voxels.dtype == np.float32


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_compressed_slices_read_as_they_were(syntax: str, tmp_path: Path) -> None:
    plain = opened(write_ct(tmp_path / "plain", edited(Rows=64, Columns=64))).read()
    folder = write_ct(tmp_path / "packed", edited(Rows=64, Columns=64))
    for path in folder.iterdir():
        image = dcmread(path)
        image.compress(syntax, generate_instance_uid=False)
        image.save_as(path)
    np.testing.assert_array_equal(opened(folder).read().voxels, plain.voxels)


def as_jpeg_lossless(path: Path) -> None:
    """Process 14, selection value 1, which pydicom cannot write: SimpleITK can, and its pixels are moved over."""
    image = dcmread(path)
    pixels = image.pixel_array
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.SetFileName(str(path.with_suffix(".packed")))
    writer.UseCompressionOn()
    writer.SetCompressor("JPEG")
    writer.Execute(sitk.GetImageFromArray(pixels[None]))
    packed = dcmread(path.with_suffix(".packed"))
    assert packed.file_meta.TransferSyntaxUID == JPEGLosslessSV1
    image.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    image["PixelData"] = packed["PixelData"]
    image.save_as(path)
    path.with_suffix(".packed").unlink()


def test_lossless_jpeg_with_slopes_reads_as_it_was(tmp_path: Path) -> None:
    images = [pet_slice(number, 3) for number in range(3)]
    for number, image in enumerate(images):
        image.RescaleSlope = 0.3712345 + number
    folder = write_slices(tmp_path, images)
    plain = opened(folder).read()
    for path in list(folder.iterdir()):
        as_jpeg_lossless(path)
    np.testing.assert_array_equal(opened(folder).read().voxels, plain.voxels)


def test_lossless_jpeg_that_does_not_decode_is_one_line(tmp_path: Path) -> None:
    folder = write_pet(tmp_path)
    for path in list(folder.iterdir()):
        as_jpeg_lossless(path)
    victim = sorted(folder.iterdir())[1]
    content = victim.read_bytes()
    victim.write_bytes(content[: content.rindex(b"\xff\xd8") + 20])
    with pytest.raises(InputError, match="pixels cannot be decoded"):
        opened(folder).read()


@pytest.mark.parametrize(
    "cosines", [(1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1), (-1, 0, 0, 0, 1, 0), (0.8, 0.6, 0, -0.6, 0.8, 0)]
)
def test_any_orientation_puts_voxels_where_the_standard_says(cosines: tuple[float, ...], tmp_path: Path) -> None:
    normal = np.cross(cosines[:3], cosines[3:])
    images = [image_slice("CT", number, 3, "2") for number in range(3)]
    for number, image in enumerate(images):
        image.ImageOrientationPatient = list(cosines)
        image.ImagePositionPatient = [float(f"{v:.6g}") for v in np.array([5.0, -7.0, 11.0]) - 4 * number * normal]
        image.PixelSpacing = [2.0, 3.0]
    series = opened(write_slices(tmp_path, images))
    # PS3.3 C.7.6.2.1.1: column index along the first triple by the second spacing, row index along the second.
    row, column = 5, 2
    expected = (
        np.array(images[1].ImagePositionPatient) + 3 * column * np.array(cosines[:3]) + 2 * row * np.array(cosines[3:])
    )
    np.testing.assert_allclose(series.geometry.index_to_world(np.array([[1, row, column]]))[0], expected, atol=1e-4)


def test_jitter_of_a_table_is_taken_and_said(tmp_path: Path) -> None:
    images = [ct_slice(number, 6) for number in range(6)]
    for number, image in enumerate(images):
        image.ImagePositionPatient = [0, 0, 4 * number + (0.04 if number % 2 else 0)]
    series = opened(write_slices(tmp_path, images))
    assert "slice steps of 3.960 to 4.040 mm taken as" in series.notes[0]


def test_what_an_image_source_has(tmp_path: Path) -> None:
    series = opened(write_pet(tmp_path))
    assert series.path.parent == tmp_path
    assert series.unsaid_position is None
    assert series.frame_of_reference.endswith(".1.0")
    assert series.expected_slices == 4
    assert "SECRET" not in series.files.label
