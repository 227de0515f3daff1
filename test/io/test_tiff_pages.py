"""TIFF stacks: what readers take in different ways is refused."""

import signal
import struct
import zlib

import numpy as np
import pytest
from builders.tiffs import LONG, RATIONAL, SHORT, tiff

from deeppsma.core.errors import InputError
from deeppsma.io.image_files import ImageFile
from deeppsma.io.integrity import damage

VOXELS = (np.arange(120, dtype=np.float32) + 1).reshape(6, 5, 4)
INCHES = {282: (RATIONAL, (254, 20)), 283: (RATIONAL, (254, 30)), 296: (SHORT, 2)}


def image(tmp_path, content):
    (tmp_path / "a.tif").write_bytes(content)
    return ImageFile(tmp_path / "a.tif")


def packbits(data):
    """Rows of 16 bytes, each as one literal run."""
    return b"".join(bytes([15]) + data[start : start + 16] for start in range(0, len(data), 16))


@pytest.mark.parametrize(
    ("tags", "spacing_zyx", "said"),
    [
        (INCHES, (1, 3, 2), "slices of 1 mm at 0 assumed"),
        (INCHES | {296: (SHORT, 3)}, (1, 30 / 25.4, 20 / 25.4), "slices of 1 mm"),
        (INCHES | {296: (SHORT, 1)}, (1, 1, 1), "no resolution"),
        ({}, (1, 1, 1), "no resolution"),
    ],
)
def test_spacing_and_what_is_not_said(tmp_path, tags, spacing_zyx, said):
    read = image(tmp_path, tiff(VOXELS, tags))
    assert read.geometry.spacing_zyx == pytest.approx(spacing_zyx)
    assert said in read.unsaid_position
    assert np.array_equal(read.read().voxels, VOXELS)


@pytest.mark.parametrize(("compression", "packed"), [(8, zlib.compress), (32946, zlib.compress), (32773, packbits)])
def test_compressed_strips(tmp_path, compression, packed):
    tags = {259: (SHORT, compression)}
    assert np.array_equal(image(tmp_path, tiff(VOXELS, tags, packed=packed)).read().voxels, VOXELS)
    short = tiff(VOXELS, tags, packed=lambda data: packed(data[:-16]))
    assert "does not hold the 80 bytes" in damage(image(tmp_path, short).path)
    long = tiff(VOXELS, tags, packed=lambda data: packed(data + data[:16]))
    assert "does not hold the 80 bytes" in damage(image(tmp_path, long).path)


def test_runs_that_reach_into_the_next_row_are_refused(tmp_path):
    content = tiff(VOXELS, {259: (SHORT, 32773)}, packed=lambda data: bytes([79]) + data)
    with pytest.raises(InputError, match="does not hold the 80 bytes"):
        image(tmp_path, content).read()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (tiff(VOXELS, {262: (SHORT, 0)}), "colours, or inverted"),
        (tiff(VOXELS, {262: (SHORT, 3)}), "colours, or inverted"),
        (tiff(VOXELS, without=[262]), "entry 262 of a page is missing"),
        (tiff(VOXELS, {274: (SHORT, 4)}), "entry 274 of a page is 4"),
        (tiff(VOXELS, {266: (SHORT, 2)}), "entry 266 of a page is 2"),
        (tiff(VOXELS, {277: (SHORT, 2)}), "entry 277 of a page is 2"),
        (tiff(VOXELS, {254: (LONG, 1)}), "thumbnail"),
        (tiff(VOXELS, {339: (SHORT, 4)}), "format 4"),
        (tiff(VOXELS.astype(np.float64)), "64 bits"),
        (tiff(VOXELS, {259: (SHORT, 7)}), "compression 7"),
        (tiff(VOXELS, {322: (SHORT, 16)}), "tiled"),
        (tiff(VOXELS, {278: (SHORT, 2)}), "do not make up its rows"),
        (tiff(VOXELS, without=[279]), "do not make up its rows"),
        (tiff(VOXELS, {279: (LONG, 40)}), "40 bytes instead of 80"),
        (tiff(VOXELS, {256: (SHORT, 0)}), "a page of 0 x 5"),
        (tiff(VOXELS, INCHES | {282: (RATIONAL, (0, 1))}), "resolution is 0"),
        (tiff(VOXELS, INCHES | {282: (RATIONAL, (1, 0))}), "resolution is nan"),
        (tiff([*VOXELS[:5], VOXELS[5][:3]]), "page 5 is of another size"),
        (tiff(VOXELS, {273: (LONG, 8)}), "share their data"),
        (tiff(VOXELS, {273: (LONG, 10**9)}), "beyond the end"),
        (tiff(VOXELS, {258: (2, 32)}), "values of type 2"),
        (tiff(VOXELS[:1]), "2-D image"),
        (b"II*\0" + bytes(4), "no page"),
        (b"II*\0" + struct.pack("<I", 10**6), "beyond the end"),
        (b"II*\0" + struct.pack("<IH", 8, 5000), "5000 entries"),
        (b"II*\0" + struct.pack("<IHHHIIHHIII", 8, 2, 300, 3, 1, 0, 299, 3, 1, 0, 0), "not in order"),
        (b"II+\0" + struct.pack("<HH", 4, 0) + bytes(8), "no TIFF"),
        (b"II*\0" + struct.pack("<IH", 8, 3), "ends early"),
        (b"II", "no TIFF"),
    ],
)
def test_pages_of_other_kinds_are_refused(tmp_path, content, said):
    with pytest.raises(InputError, match=r"a\.tif") as caught:
        image(tmp_path, content).read()
    assert said in str(caught.value)


def test_a_unit_that_is_given_twice_is_refused(tmp_path):
    content = tiff(VOXELS, INCHES)
    once, twice = struct.pack("<HHI", 296, SHORT, 1), struct.pack("<HHI", 296, SHORT, 2)
    assert once in content
    with pytest.raises(InputError, match="several resolutions"):
        image(tmp_path, content.replace(once, twice)).read()


def test_a_width_in_a_byte_is_refused(tmp_path):
    content = tiff(VOXELS)
    short, byte = struct.pack("<HHI", 256, SHORT, 1), struct.pack("<HHI", 256, 1, 1)
    with pytest.raises(InputError, match="entry 256 of a page holds 1 values of type 1"):
        image(tmp_path, content.replace(short, byte)).read()


def test_pages_that_go_in_circles_end(tmp_path):
    """ITK follows them for ever, in C, deaf to signals: it must not be asked."""
    content = bytearray(tiff(VOXELS))
    (first,) = struct.unpack_from("<I", content, 4)
    struct.pack_into("<I", content, len(content) - 4, first)
    signal.alarm(20)
    try:
        with pytest.raises(InputError, match="go in circles"):
            image(tmp_path, bytes(content)).read()
    finally:
        signal.alarm(0)
