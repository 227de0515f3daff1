"""Whether a file is whole and undamaged, where the reading library would not say.

SimpleITK reads a ``.nii.gz`` or ``.tif`` that ends early, and a compressed
``.mha`` or ``.nii.gz`` with flipped bits, and reports success: part of the
scan is then zero or noise. A damaged scan must not pass for a scan, so
checksums are verified and lengths compared before an image is read.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

_CHUNK_BYTES = 1 << 22
_META_HEADER_MAX_BYTES = 1 << 16
#: Tags that hold where a TIFF page's strips or tiles lie, and how long they are.
_TIFF_OFFSETS, _TIFF_LENGTHS = (273, 324), (279, 325)
_TIFF_INTEGERS = {3: "H", 4: "I", 16: "Q"}
_TIFF_PAGES_MAX = 100_000


def damage(path: Path, expected_bytes: int) -> str | None:
    """What is wrong with a file, or None where it is whole.

    Parameters
    ----------
    path
        The image.
    expected_bytes
        From the header: where the stored voxels of a NIfTI file end (after
        decompression); of other formats, the bytes of all voxels.
    """
    name = path.name.lower()
    try:
        if name.endswith(".nii.gz"):
            return _gzip_damage(path, expected_bytes)
        if name.endswith(".nii"):
            return _lacking(path.stat().st_size, expected_bytes)
        if name.endswith(".mha"):
            with path.open("rb") as file:
                return _meta_damage(file, expected_bytes)
        if name.endswith((".tif", ".tiff")):
            with path.open("rb") as file:
                return _tiff_damage(file, path.stat().st_size)
    except (EOFError, ValueError, gzip.BadGzipFile, zlib.error, struct.error) as error:
        return f"it is damaged or ends early ({error})"
    return None


def _lacking(found: int, expected: int) -> str | None:
    return f"{expected - found} bytes are missing" if found < expected else None


def _gzip_damage(path: Path, expected: int) -> str | None:
    total = 0
    with gzip.open(path, "rb") as stream:  # checks CRC and length of every member
        while chunk := stream.read(_CHUNK_BYTES):
            total += len(chunk)
    return _lacking(total, expected)


def _meta_damage(file: BinaryIO, expected: int) -> str | None:
    header: dict[str, str] = {}
    while "elementdatafile" not in header:
        line = file.readline(_META_HEADER_MAX_BYTES).decode("latin-1")
        if not line or file.tell() > _META_HEADER_MAX_BYTES:
            return "its header does not end"
        key, _, value = line.partition("=")
        header[key.strip().lower()] = value.strip().lower()
    if header["elementdatafile"] != "local":
        return "its voxels lie in another file"
    start = file.tell()
    # As ITK reads it: True, true, 1.
    if not header.get("compresseddata", "false").startswith(("t", "1")):
        file.seek(0, 2)
        return _lacking(file.tell() - start, expected)
    total, stream = 0, zlib.decompressobj()
    while not stream.eof:
        chunk = file.read(_CHUNK_BYTES)
        if not chunk:
            return f"it ends early, after {total} of {expected} bytes"
        while chunk and not stream.eof:
            total += len(stream.decompress(chunk, _CHUNK_BYTES))
            chunk = stream.unconsumed_tail
    return _lacking(total, expected)


def _tiff_damage(file: BinaryIO, size: int) -> str | None:
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
        raise ValueError(f"offsets of type {kind}")
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
