import gzip
import re
import struct
import warnings

import numpy as np
import pytest
from PIL import Image

from deeppsma.core.errors import InputError
from deeppsma.core.geometry import Geometry
from deeppsma.core.volume import Volume
from deeppsma.io.image_files import ImageFile, write_image
from deeppsma.io.integrity import cut_short, damage

VOXELS = np.random.default_rng(0).random((6, 20, 20), dtype=np.float32)


def written(tmp_path, name):
    write_image(Volume(VOXELS, Geometry(VOXELS.shape, (2, 2, 2))), tmp_path / name)
    return tmp_path / name


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.tif", "a.mha"])
def test_whole_files_pass(tmp_path, name):
    assert damage(written(tmp_path, name)) is None


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.tif", "a.mha"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_cut_files_do_not(tmp_path, name, share):
    path = written(tmp_path, name)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert damage(path) is not None


@pytest.mark.parametrize("name", ["a.nii.gz", "a.mha"])
@pytest.mark.parametrize("share", [0.2, 0.4, 0.6, 0.8, 0.95])
def test_flipped_bits_in_compressed_voxels_are_seen(tmp_path, name, share):
    path = written(tmp_path, name)
    content = bytearray(path.read_bytes())
    for index in range(int(len(content) * share), int(len(content) * share) + 4):
        content[index] ^= 0xFF
    path.write_bytes(content)
    assert damage(path) is not None
    with pytest.raises(InputError, match="not a readable image"):
        ImageFile(path).read()


def test_an_uncompressed_mha_passes_whole_and_fails_cut(tmp_path):
    write_image(Volume(VOXELS, Geometry(VOXELS.shape, (2, 2, 2))), tmp_path / "a.mha", compress=False)
    assert damage(tmp_path / "a.mha") is None
    (tmp_path / "a.mha").write_bytes((tmp_path / "a.mha").read_bytes()[:-1])
    assert damage(tmp_path / "a.mha") == "1 bytes are missing"


def test_gzip_in_several_members_passes(tmp_path):
    content = gzip.decompress(written(tmp_path, "a.nii.gz").read_bytes())
    halves = gzip.compress(content[:5000]) + gzip.compress(content[5000:])
    (tmp_path / "a.nii.gz").write_bytes(halves)
    assert damage(tmp_path / "a.nii.gz") is None


def test_gzip_of_too_few_bytes_does_not(tmp_path):
    content = gzip.decompress(written(tmp_path, "a.nii.gz").read_bytes())
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(content[:5000]))
    assert "bytes are missing" in damage(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("big", [False, True])
def test_tiffs_of_another_writer(tmp_path, big):
    pages = [Image.fromarray(page) for page in VOXELS]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:], big_tiff=big)
    assert damage(tmp_path / "a.tif") is None
    content = (tmp_path / "a.tif").read_bytes()
    assert content[2] == (43 if big else 42)
    (tmp_path / "a.tif").write_bytes(content[: len(content) // 2])
    assert damage(tmp_path / "a.tif") is not None


def test_what_is_no_tiff_is_said(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"hello world")
    assert damage(tmp_path / "a.tif") == "it is no TIFF"


def test_what_a_header_extension_takes_is_not_voxels(tmp_path):
    content = bytearray(written(tmp_path, "a.nii").read_bytes())
    content[108:112] = struct.pack("<f", 20352)  # vox_offset
    content[348:352] = b"\1\0\0\0"
    extended = content[:352] + struct.pack("<ii", 20000, 0) + bytes(19992) + content[352:]
    (tmp_path / "a.nii").write_bytes(extended)
    assert np.array_equal(ImageFile(tmp_path / "a.nii").read().voxels, VOXELS)
    (tmp_path / "a.nii").write_bytes(extended[:-9000])
    with pytest.raises(InputError, match="9000 bytes are missing"):
        ImageFile(tmp_path / "a.nii").read()


@pytest.mark.parametrize(
    ("line", "other"),
    [
        (b"ElementDataFile = LOCAL", b"ElementDataFile=LOCAL"),
        (b"ElementDataFile = LOCAL", b"ElementDataFile = local"),
        (b"CompressedData = True", b"CompressedData = true"),
        (b"CompressedData = True", b"CompressedData =  True"),
    ],
)
def test_headers_written_otherwise_are_checked_as_well(tmp_path, line, other):
    path = written(tmp_path, "a.mha")
    content = path.read_bytes().replace(line, other)
    path.write_bytes(content)
    assert damage(path) is None
    flipped = bytearray(content)
    flipped[len(flipped) // 2] ^= 0xFF
    path.write_bytes(flipped)
    assert damage(path) is not None


@pytest.mark.parametrize(
    ("header", "expected"), [(b"ElementDataFile = other.raw\n", "another file"), (b"NDims = 3\n", "does not end")]
)
def test_an_mha_without_voxels_of_its_own(tmp_path, header, expected):
    (tmp_path / "a.mha").write_bytes(header)
    assert expected in damage(tmp_path / "a.mha")


def meta(path, change=lambda head: head, body=lambda body: body):
    """Rewrites an MHA file's header and what follows it."""
    content = path.read_bytes()
    end = content.index(b"LOCAL\n") + 6
    path.write_bytes(change(content[:end]) + body(content[end:]))
    return path


@pytest.mark.parametrize("length", [1, 100, 10**9])
def test_a_compressed_length_that_is_not_the_streams_is_seen(tmp_path, length):
    path = meta(written(tmp_path, "a.mha"), lambda head: re.sub(rb"DataSize = \d+", b"DataSize = %d" % length, head))
    assert "compressed bytes, and its header tells of" in damage(path)


def test_a_compressed_length_may_be_left_out(tmp_path):
    assert (
        damage(meta(written(tmp_path, "a.mha"), lambda head: re.sub(rb"CompressedDataSize = \d+\n", b"", head))) is None
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"DimSize = 20 20 6", b"DimSize = 20 20 5"),
        (b"MET_FLOAT", b"MET_SHORT"),
        (b"MET_FLOAT", b"MET_UCHAR"),
    ],
)
@pytest.mark.parametrize("compress", [True, False])
def test_voxels_that_the_header_does_not_tell_of_are_seen(tmp_path, old, new, compress):
    write_image(Volume(VOXELS, Geometry(VOXELS.shape, (2, 2, 2))), tmp_path / "a.mha", compress)
    assert "more than its header tells of" in damage(meta(tmp_path / "a.mha", lambda head: head.replace(old, new)))


def test_what_follows_compressed_voxels_is_seen(tmp_path):
    path = meta(
        written(tmp_path, "a.mha"), lambda head: re.sub(rb"CompressedDataSize = \d+\n", b"", head), lambda b: b + b"x"
    )
    assert damage(path) == "something follows its compressed voxels"


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_surplus_in_a_nifti_is_seen(tmp_path, name):
    path = written(tmp_path, name)
    content = (gzip.decompress(path.read_bytes()) if name.endswith("gz") else path.read_bytes()) + bytes(16)
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    assert damage(path) == "16 bytes more than its header tells of"


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.tif", "a.mha"])
def test_files_that_were_cut_while_they_were_written(tmp_path, name):
    path = written(tmp_path, name)
    assert cut_short(path) is None
    path.write_bytes(path.read_bytes()[:-30])
    assert cut_short(path) is not None
    path.write_bytes(path.read_bytes()[:40])
    assert cut_short(path) is not None
