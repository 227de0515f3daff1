"""Whether a file is whole, where the reading library would not say.

SimpleITK reads the first part of a truncated ``.nii.gz`` or ``.tif`` and
reports success. Half a scan must not pass for a scan.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

_CHUNK_BYTES = 1 << 24
_NIFTI_HEADER_BYTES = 352
#: Tags that hold where a TIFF page's strips or tiles lie, and how long they are.
_TIFF_OFFSETS, _TIFF_LENGTHS = (273, 324), (279, 325)
_TIFF_INTEGERS = {3: "H", 4: "I", 16: "Q"}
_TIFF_PAGES_MAX = 100_000


def missing_part(path: Path, voxel_bytes: int) -> str | None:
    """What a file lacks, or None where it is whole.

    Parameters
    ----------
    path
        The image. Formats other than NIfTI and TIFF are left to their reader.
    voxel_bytes
        Bytes of all voxels, from the header.
    """
    name = path.name.lower()
    try:
        if name.endswith(".nii.gz"):
            return _gzip_problem(path, voxel_bytes)
        if name.endswith(".nii"):
            lacking = voxel_bytes + _NIFTI_HEADER_BYTES - path.stat().st_size
            return f"{lacking} bytes are missing" if lacking > 0 else None
        if name.endswith((".tif", ".tiff")):
            with path.open("rb") as file:
                return _tiff_problem(file, path.stat().st_size)
    except (OSError, EOFError, ValueError, zlib.error, struct.error) as error:
        return f"it ends early ({error})"
    return None


def _gzip_problem(path: Path, voxel_bytes: int) -> str | None:
    with path.open("rb") as file:
        file.seek(-4, 2)
        said = struct.unpack("<I", file.read(4))[0]
    # The last four bytes hold the size modulo 2^32: header (more with extensions) and voxels.
    extra = (said - voxel_bytes) % 2**32
    if _NIFTI_HEADER_BYTES <= extra < 2**16:
        return None
    # Several gzip members in one file, or a damaged one: only reading it through can tell.
    total = 0
    with gzip.open(path, "rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            total += len(chunk)
    return f"{voxel_bytes - total} bytes are missing" if total < voxel_bytes else None


def _tiff_problem(file: BinaryIO, size: int) -> str | None:
    mark = file.read(4)
    order = {b"II": "<", b"MM": ">"}.get(mark[:2], "")
    version = struct.unpack(f"{order}H", mark[2:])[0] if order else 0
    if version not in (42, 43):
        return "it is no TIFF"
    big = version == 43
    file.seek(8 if big else 4)
    (offset,) = struct.unpack(order + ("Q" if big else "I"), file.read(8 if big else 4))
    for _ in range(_TIFF_PAGES_MAX):
        if offset == 0:
            return None
        if offset >= size:
            return "a page lies beyond the end of the file"
        offset, end = _tiff_page(file, offset, order, big)
        if end > size:
            return "a page's data lie beyond the end of the file"
    return f"it has more than {_TIFF_PAGES_MAX} pages"


def _tiff_page(file: BinaryIO, offset: int, order: str, big: bool) -> tuple[int, int]:
    """Offset of the next page (0 for none), and where this page's data end."""
    file.seek(offset)
    count_format, entry_bytes, word = ("Q", 20, "Q") if big else ("H", 12, "I")
    (count,) = struct.unpack(order + count_format, _exactly(file, struct.calcsize(count_format)))
    entries = _exactly(file, count * entry_bytes)
    (following,) = struct.unpack(order + word, _exactly(file, struct.calcsize(word)))
    offsets: list[int] = []
    lengths: list[int] = []
    for start in range(0, len(entries), entry_bytes):
        tag, kind = struct.unpack_from(order + "HH", entries, start)
        if tag in _TIFF_OFFSETS + _TIFF_LENGTHS:
            values = _tiff_values(file, entries[start + 4 : start + entry_bytes], kind, order, word)
            (offsets if tag in _TIFF_OFFSETS else lengths).extend(values)
    ends = [a + b for a, b in zip(offsets, lengths, strict=True)]
    return following, max(ends, default=0)


def _tiff_values(file: BinaryIO, entry: bytes, kind: int, order: str, word: str) -> list[int]:
    word_bytes = struct.calcsize(word)
    (count,) = struct.unpack(order + word, entry[:word_bytes])
    letter = _TIFF_INTEGERS.get(kind)
    if letter is None:
        raise EOFError(f"its offsets are of type {kind}")
    needed = count * struct.calcsize(letter)
    content = entry[word_bytes : word_bytes + needed]
    if needed > word_bytes:
        file.seek(struct.unpack(order + word, entry[word_bytes:])[0])
        content = _exactly(file, needed)
    return list(struct.unpack(f"{order}{count}{letter}", content))


def _exactly(file: BinaryIO, count: int) -> bytes:
    content = file.read(count)
    if len(content) < count:
        raise EOFError("within its directory of pages")
    return content
