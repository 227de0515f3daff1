"""Whether a file is whole and undamaged, where the reading library would not say.

SimpleITK reads a ``.nii.gz`` or ``.tif`` that ends early, a compressed
``.mha`` or ``.nii.gz`` with flipped bits, and a file with more voxels than
its header tells of, and reports success: part of the scan is then zero,
noise, or left out. A damaged scan must not pass for a scan, so checksums are
verified and lengths compared before an image is read.
"""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import BinaryIO

from zlib_ng import gzip_ng, zlib_ng

from deeppsma.io.headers import HeaderError, StoredImage
from deeppsma.io.meta_header import read_meta_header
from deeppsma.io.nifti_header import HEADER_BYTES, read_nifti_header
from deeppsma.io.tiff_pages import read_tiff_stack, strip_damage

_CHUNK_BYTES = 1 << 22
_BROKEN = (EOFError, ValueError, gzip.BadGzipFile, zlib_ng.error, struct.error)


def read_header(path: Path) -> StoredImage:
    """Header of an image; its voxels are not read.

    Parameters
    ----------
    path
        ``.mha``, ``.nii``, ``.nii.gz``, ``.tif`` or ``.tiff``, in small
        letters or capitals.

    Raises
    ------
    HeaderError
        If it is broken, or can be read in two ways.
    OSError
        If the file cannot be read.
    """
    name = path.name.lower()
    try:
        if name.endswith(".mha"):
            with path.open("rb") as file:
                return read_meta_header(file).stored
        if name.endswith((".tif", ".tiff")):
            with path.open("rb") as file:
                return read_tiff_stack(file, path.stat().st_size).stored
        with gzip_ng.open(path) if name.endswith(".gz") else path.open("rb") as file:
            return read_nifti_header(file.read(HEADER_BYTES))
    except HeaderError:
        raise
    except _BROKEN as error:
        raise HeaderError(f"it is damaged or ends early ({error})") from None


def damage(path: Path) -> str | None:
    """What is wrong with a file's voxels, or with its header; None where it is whole.

    Parameters
    ----------
    path
        As in `read_header`.
    """
    name = path.name.lower()
    try:
        if name.endswith(".mha"):
            with path.open("rb") as file:
                return _meta_damage(file)
        if name.endswith((".tif", ".tiff")):
            with path.open("rb") as file:
                stack = read_tiff_stack(file, path.stat().st_size)
                return next(filter(None, (strip_damage(file, page) for page in stack.pages)), None)
        return _nifti_damage(path)
    except HeaderError as error:
        return str(error)
    except _BROKEN as error:
        return f"it is damaged or ends early ({error})"


def cut_short(path: Path) -> str | None:
    """What is wrong with a file's length, from its header and end alone; None where it is right.

    Much quicker than `damage`, for files that were written just now: checksums
    are not computed.
    """
    name = path.name.lower()
    try:
        if name.endswith(".mha"):
            with path.open("rb") as file:
                header = read_meta_header(file)
            length = header.stored.voxel_bytes if header.compressed_bytes is None else header.compressed_bytes
            return _compared(path.stat().st_size, header.stored.start + length)
        if name.endswith(".gz"):
            stored = read_header(path)
            with path.open("rb") as file:
                file.seek(-4, 2)
                (length,) = struct.unpack("<I", file.read(4))
            return None if length == (stored.start + stored.voxel_bytes) % 2**32 else "it ends early"
        return damage(path)
    except (HeaderError, *_BROKEN) as error:
        return f"it ends early ({error})"


def _compared(found: int, expected: int) -> str | None:
    if found < expected:
        return f"{expected - found} bytes are missing"
    return f"{found - expected} bytes more than its header tells of" if found > expected else None


def _nifti_damage(path: Path) -> str | None:
    stored = read_header(path)
    expected = stored.start + stored.voxel_bytes
    if not path.name.lower().endswith(".gz"):
        return _compared(path.stat().st_size, expected)
    total = 0
    with gzip_ng.open(path, "rb") as stream:  # checks CRC and length of every member
        while chunk := stream.read(_CHUNK_BYTES):
            total += len(chunk)
    return _compared(total, expected)


def _meta_damage(file: BinaryIO) -> str | None:
    header = read_meta_header(file)
    start, expected = header.stored.start, header.stored.voxel_bytes
    length = file.seek(0, 2) - start
    file.seek(start)
    if header.compressed_bytes is None:
        return _compared(length, expected)
    # ITK reads as many bytes as the header says, be it half of the stream.
    if header.compressed_bytes not in (-1, length):
        return f"{length} compressed bytes, and its header tells of {header.compressed_bytes}"
    total, stream = 0, zlib_ng.decompressobj()
    while not stream.eof:
        chunk = file.read(_CHUNK_BYTES)
        if not chunk:
            return f"it ends early, after {total} of {expected} bytes"
        while chunk and not stream.eof:
            total += len(stream.decompress(chunk, _CHUNK_BYTES))
            chunk = stream.unconsumed_tail
        if total > expected:
            break
    if stream.eof and (stream.unused_data or file.read(1)):
        return "something follows its compressed voxels"
    return _compared(total, expected)
