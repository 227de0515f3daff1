import gc
import os
import weakref
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from deeppsma.core.box import Box
from deeppsma.core.errors import InputError
from deeppsma.core.geometry import Geometry
from deeppsma.core.volume import Volume
from deeppsma.io.image_files import ImageFile, is_image, write_image

GRID = Geometry((4, 5, 6), (3.0, 2.0, 2.0), (10.0, -20.0, 30.0))


def volume():
    return Volume(np.random.default_rng(0).random((4, 5, 6), dtype=np.float32), GRID)


@pytest.mark.parametrize("suffix", [".mha", ".nii.gz"])
@pytest.mark.parametrize("direction", [(1, 0, 0, 0, 1, 0, 0, 0, 1), (-1, 0, 0, 0, 0, 1, 0, 1, 0)])
def test_round_trip(tmp_path, suffix, direction):
    grid = Geometry(GRID.shape_zyx, GRID.spacing_zyx, GRID.origin_xyz, direction)
    write_image(Volume(volume().voxels, grid), tmp_path / f"a{suffix}")
    again = ImageFile(tmp_path / f"a{suffix}").read(np.float32)
    assert again.geometry.same_grid(grid)
    assert np.array_equal(again.voxels, volume().voxels)


@pytest.mark.parametrize("suffix", [".tif", ".tiff"])
def test_tiff_stacks_are_read(tmp_path, suffix):
    write_image(volume(), tmp_path / f"a{suffix}")
    assert np.array_equal(ImageFile(tmp_path / f"a{suffix}").read().voxels, volume().voxels)


def test_voxels_outlive_the_image_they_came_from(tmp_path):
    write_image(volume(), tmp_path / "a.mha")
    voxels = ImageFile(tmp_path / "a.mha").read().voxels
    gc.collect()
    filler = [np.full((4, 5, 6), 7, np.float32) for _ in range(1000)]
    assert np.array_equal(voxels, volume().voxels)
    assert len(filler) == 1000


def test_the_header_alone_tells_the_grid(tmp_path):
    path = tmp_path / "a.mha"
    write_image(volume(), path, compress=False)
    path.write_bytes(path.read_bytes()[:-100])  # no voxel can be read any more
    assert ImageFile(path).geometry == GRID
    with pytest.raises(InputError, match="not a readable image"):
        ImageFile(path).read()


@pytest.mark.parametrize("suffix", [".mha", ".nii.gz", ".tif"])
@pytest.mark.parametrize("compress", [True, False])
def test_truncated_files_are_refused(tmp_path, suffix, compress):
    path = tmp_path / f"a{suffix}"
    noise = np.random.default_rng(0).random((20, 30, 30), dtype=np.float32)
    write_image(Volume(noise, Geometry(noise.shape, (2, 2, 2))), path, compress)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match="a" + suffix):
        ImageFile(path).read()


def test_a_file_that_is_no_image_is_refused(tmp_path):
    (tmp_path / "a.mha").write_text("not an image")
    with pytest.raises(InputError, match="not a readable image"):
        _ = ImageFile(tmp_path / "a.mha").geometry


@pytest.mark.parametrize("shape", [(5, 6), (3, 4, 5, 6), (1, 5, 6)])
def test_other_than_three_dimensions_are_refused(tmp_path, shape):
    image = sitk.GetImageFromArray(np.zeros(shape, np.float32), isVector=False)
    sitk.WriteImage(image, str(tmp_path / "a.mha"))
    with pytest.raises(InputError, match="-D image"):
        _ = ImageFile(tmp_path / "a.mha").geometry


def test_colour_is_refused(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 5, 6, 3), np.uint8), isVector=True), str(tmp_path / "a.mha"))
    with pytest.raises(InputError, match="3 values per voxel"):
        _ = ImageFile(tmp_path / "a.mha").geometry


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(tmp_path, value):
    voxels = volume().voxels.copy()
    voxels[1, 2, 3] = value
    write_image(Volume(voxels, GRID), tmp_path / "a.mha")
    with pytest.raises(InputError, match="NaN or infinite"):
        ImageFile(tmp_path / "a.mha").read(np.float32)


def test_a_crop_is_a_copy_in_its_place():
    crop = volume().cropped(Box((1, 2, 3), (3, 4, 6)))
    assert np.array_equal(crop.voxels, volume().voxels[1:3, 2:4, 3:6])
    assert crop.geometry.origin_xyz == pytest.approx((16, -16, 33))


def test_voxels_must_fit_their_grid():
    with pytest.raises(ValueError, match="on a grid of"):
        Volume(np.zeros((2, 2, 2)), GRID)


@pytest.mark.parametrize(
    ("name", "expected"), [("a.MHA", True), ("b.nii.gz", True), ("c.tiff", True), ("d.json", False)]
)
def test_suffixes(name, expected):
    assert is_image(Path(name)) is expected


def test_a_suffix_in_capitals_is_read(tmp_path):
    write_image(volume(), tmp_path / "a.mha")
    (tmp_path / "a.mha").rename(tmp_path / "a.MHA")
    assert np.array_equal(ImageFile(tmp_path / "a.MHA").read(np.float32).voxels, volume().voxels)


@pytest.mark.parametrize("spacing", [0.004, 400.0])
def test_a_spacing_in_another_unit_is_refused(tmp_path, spacing):
    write_image(Volume(volume().voxels, Geometry(GRID.shape_zyx, (spacing,) * 3)), tmp_path / "a.mha")
    with pytest.raises(InputError, match="write it again in mm"):
        _ = ImageFile(tmp_path / "a.mha").geometry


def test_a_position_that_the_header_does_not_say_is_said(tmp_path):
    write_image(volume(), tmp_path / "a.nii")
    assert ImageFile(tmp_path / "a.nii").unsaid_position is None
    content = bytearray((tmp_path / "a.nii").read_bytes())
    content[252:256] = bytes(4)  # qform_code and sform_code
    (tmp_path / "a.nii").write_bytes(content)
    assert "holds no position" in ImageFile(tmp_path / "a.nii").unsaid_position


def test_a_name_that_is_not_utf8_is_refused(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/l\xfct.mha"))
    with pytest.raises(InputError, match="not UTF-8"):
        _ = ImageFile(path).geometry


def test_an_image_goes_with_its_last_reader_without_a_search_for_cycles(tmp_path):
    path = tmp_path / "a.mha"
    write_image(volume(), path)
    voxels = ImageFile(path).read().voxels
    owner, base = None, voxels
    while base is not None and owner is None:
        owner = weakref.ref(base) if type(base).__name__ == "_Owner" else None
        base = getattr(base, "base", None)
    assert owner is not None
    gc.disable()
    try:
        del voxels, base
        assert owner() is None
    finally:
        gc.enable()
