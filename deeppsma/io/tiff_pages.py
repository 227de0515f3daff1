"""Pages of a TIFF stack: what their directories say, and whether their data are whole.

Source: TIFF 6.0 (Adobe, 1992), BigTIFF, and what libtiff does with files that
leave them: it guesses, warns, and goes on.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from zlib_ng import zlib_ng

from deeppsma.io.headers import HeaderError, StoredImage, upright

_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 254, 256, 257, 258, 259, 262, 266
_STRIP_OFFSETS, _ORIENTATION, _SAMPLES, _ROWS_PER_STRIP, _STRIP_BYTES = 273, 274, 277, 278, 279
_X_RESOLUTION, _Y_RESOLUTION, _UNIT, _SAMPLE_FORMAT = 282, 283, 296, 339
_TILES = range(322, 326)
_USED = {_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _STRIP_OFFSETS, _ORIENTATION}
_USED |= {_SAMPLES, _ROWS_PER_STRIP, _STRIP_BYTES, _X_RESOLUTION, _Y_RESOLUTION, _UNIT, _SAMPLE_FORMAT, *_TILES}
#: Field types by number: unsigned integers, and the rational.
_INTEGERS, _RATIONAL = {3: "H", 4: "I", 16: "Q"}, 5
#: Must hold one value each, this one; what is not there counts as it.
_ONLY = {_FILL_ORDER: 1, _ORIENTATION: 1, _SAMPLES: 1}
_NONE, _LZW, _DEFLATE, _OLD_DEFLATE, _PACKBITS = 1, 5, 8, 32946, 32773
_COMPRESSIONS = (_NONE, _LZW, _DEFLATE, _OLD_DEFLATE, _PACKBITS)
_FORMATS = {1: "u", 2: "i", 3: "f"}
_TYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "f4")
_MM_PER_UNIT = {2: 25.4, 3: 10.0}
_UNSAID = "TIFF holds no position; slices of 1 mm at 0 assumed"
_UNSAID_ALL = "TIFF holds no position, and this one no resolution; voxels of 1 mm at 0 assumed"
_PAGES_MAX, _ENTRIES_MAX, _VALUES_MAX = 100_000, 1000, 10_000_000


@dataclass(frozen=True)
class TiffPage:
    """One page, uncompressed or with strips of rows that are compressed one by one.

    Parameters
    ----------
    width, height, dtype
        Of its image.
    compression
        TIFF's number.
    rows_per_strip
        The last strip may have fewer.
    strips
        Where each begins in the file, and its bytes.
    spacing_xy
        mm, or None where the page does not say it.
    """

    width: int
    height: int
    dtype: str
    compression: int
    rows_per_strip: int
    strips: tuple[tuple[int, int], ...]
    spacing_xy: tuple[float, float] | None

    @property
    def row_bytes(self) -> int:
        """Bytes of one row, decompressed."""
        return self.width * int(self.dtype[1])

    def rows_of(self, strip: int) -> int:
        """Rows of a strip."""
        return min(self.rows_per_strip, self.height - strip * self.rows_per_strip)


@dataclass(frozen=True)
class TiffStack:
    """All pages of a file, alike.

    Parameters
    ----------
    stored
        The volume that they make.
    pages
        In order of z.
    """

    stored: StoredImage
    pages: tuple[TiffPage, ...]


def read_tiff_stack(file: BinaryIO, size: int) -> TiffStack:
    """Directories of all pages; no voxel is read.

    Parameters
    ----------
    file
        Opened at its beginning.
    size
        Bytes of the file.

    Raises
    ------
    HeaderError
        If it is no TIFF, its pages go in circles, differ, or are of a kind
        that readers do not agree on.
    """
    try:
        pages, directories = _all_pages(file, size)
    except (struct.error, EOFError, OverflowError, OSError) as error:
        raise HeaderError(f"it is damaged or ends early ({error or type(error).__name__})") from None
    first = pages[0]
    for number, page in enumerate(pages):
        if (page.width, page.height, page.dtype, page.spacing_xy) != (
            first.width,
            first.height,
            first.dtype,
            first.spacing_xy,
        ):
            raise HeaderError(f"page {number} is of another size, type or resolution than page 0")
    _check_places(directories + [place for page in pages for place in page.strips], size)
    shape = (first.width, first.height, len(pages))[: 3 if len(pages) > 1 else 2]
    x, y = first.spacing_xy or (1.0, 1.0)
    unsaid = _UNSAID_ALL if first.spacing_xy is None else _UNSAID
    return TiffStack(StoredImage(shape, (x, y, 1.0), (0, 0, 0), upright(), first.dtype, unsaid=(unsaid,)), pages)


def strip_damage(file: BinaryIO, page: TiffPage) -> str | None:
    """What is wrong with a page's compressed strips; LZW has no checksum and is not looked at."""
    for number, (start, length) in enumerate(page.strips):
        wanted = page.rows_of(number) * page.row_bytes
        if page.compression == _NONE:
            if length != wanted:
                return f"a strip has {length} bytes instead of {wanted}"
            continue
        file.seek(start)
        content = _exactly(file, length)
        if page.compression in (_DEFLATE, _OLD_DEFLATE):
            stream = zlib_ng.decompressobj()
            found = len(stream.decompress(content, wanted + 1))
            if not stream.eof or found != wanted or stream.unused_data:
                return f"a strip does not hold the {wanted} bytes that it should"
        if page.compression == _PACKBITS and not _packed_rows(content, page.rows_of(number), page.row_bytes):
            return f"a strip does not hold the {wanted} bytes that it should"
    return None


def _all_pages(file: BinaryIO, size: int) -> tuple[tuple[TiffPage, ...], list[tuple[int, int]]]:
    mark = file.read(4)
    order = {b"II": "<", b"MM": ">"}.get(mark[:2], "")
    version = struct.unpack(f"{order}H", mark[2:])[0] if order and len(mark) == 4 else 0
    if version not in (42, 43):
        raise HeaderError("it is no TIFF")
    form = _Form(order, version == 43)
    if form.big and struct.unpack(f"{order}HH", _exactly(file, 4)) != (8, 0):
        raise HeaderError("it is no TIFF")
    (offset,) = form.read_word(file)
    pages: list[TiffPage] = []
    directories: dict[int, int] = {}
    while offset:
        if offset in directories:
            raise HeaderError("its pages go in circles")
        if offset >= size:
            raise HeaderError("a page lies beyond the end of the file")
        if len(pages) == _PAGES_MAX:
            raise HeaderError(f"it has more than {_PAGES_MAX} pages")
        tags, following, end = form.directory(file, offset)
        directories[offset] = end - offset
        pages.append(_page(tags))
        offset = following
    if not pages:
        raise HeaderError("it has no page")
    return tuple(pages), list(directories.items())


@dataclass(frozen=True)
class _Form:
    """Byte order, and whether offsets have eight bytes."""

    order: str
    big: bool

    @property
    def word(self) -> str:
        return self.order + ("Q" if self.big else "I")

    def read_word(self, file: BinaryIO) -> tuple[int]:
        (value,) = struct.unpack(self.word, _exactly(file, struct.calcsize(self.word)))
        return (value,)

    def directory(self, file: BinaryIO, offset: int) -> tuple[dict[int, list[float]], int, int]:
        """Tags that are used here, where the next page's directory is (0: none), and where this one ends."""
        file.seek(offset)
        count_format, entry_bytes = (f"{self.order}Q", 20) if self.big else (f"{self.order}H", 12)
        (count,) = struct.unpack(count_format, _exactly(file, struct.calcsize(count_format)))
        if count > _ENTRIES_MAX:
            raise HeaderError(f"a page with {count} entries")
        entries = _exactly(file, count * entry_bytes)
        (following,) = self.read_word(file)
        end = file.tell()
        tags: dict[int, list[float]] = {}
        before = -1
        for start in range(0, len(entries), entry_bytes):
            tag, kind = struct.unpack_from(f"{self.order}HH", entries, start)
            if tag <= before:
                raise HeaderError("a page's entries are not in order")
            before = tag
            if tag in _USED:
                tags[tag] = self._values(file, entries[start + 4 : start + entry_bytes], kind, tag)
        return tags, following, end

    def _values(self, file: BinaryIO, entry: bytes, kind: int, tag: int) -> list[float]:
        word_bytes = struct.calcsize(self.word)
        (count,) = struct.unpack(self.word, entry[:word_bytes])
        letter = "II" if kind == _RATIONAL else _INTEGERS.get(kind)
        if letter is None or not 1 <= count <= _VALUES_MAX:
            raise HeaderError(f"entry {tag} of a page holds {count} values of type {kind}")
        needed = count * struct.calcsize(self.order + letter)
        content = entry[word_bytes : word_bytes + needed]
        if needed > word_bytes:
            file.seek(struct.unpack(self.word, entry[word_bytes:])[0])
            content = _exactly(file, needed)
        numbers = struct.unpack(self.order + letter * count, content)
        if kind != _RATIONAL:
            return list(numbers)
        return [over / under if under else math.nan for over, under in zip(numbers[::2], numbers[1::2], strict=True)]


def _page(tags: Mapping[int, Sequence[float]]) -> TiffPage:
    def one(tag: int, missing: int | None = None) -> int:
        values = tags.get(tag, () if missing is None else (missing,))
        if len(values) != 1:
            raise HeaderError(f"entry {tag} of a page {'is missing' if not values else 'holds several values'}")
        return int(values[0])

    for tag, wanted in _ONLY.items():
        if (found := one(tag, wanted)) != wanted:
            raise HeaderError(f"entry {tag} of a page is {found}; only {wanted} is read")
    if one(_SUBFILE, 0) & ~2:
        raise HeaderError("a page is a thumbnail or a mask")
    if (photometric := one(_PHOTOMETRIC)) != 1:
        raise HeaderError(f"its values are colours, or inverted (photometric interpretation {photometric})")
    if set(_TILES) & set(tags):
        raise HeaderError("its pages are tiled")
    compression = one(_COMPRESSION, _NONE)
    if compression not in _COMPRESSIONS:
        raise HeaderError(f"compression {compression}")
    dtype = f"{_FORMATS.get(one(_SAMPLE_FORMAT, 1), '?')}{one(_BITS, 1) / 8:g}"
    if dtype not in _TYPES:
        raise HeaderError(f"values of {one(_BITS, 1)} bits and format {one(_SAMPLE_FORMAT, 1)}")
    width, height = one(_WIDTH), one(_HEIGHT)
    if width < 1 or height < 1:
        raise HeaderError(f"a page of {width} x {height}")
    rows = min(one(_ROWS_PER_STRIP, height), height)
    offsets, lengths = tags.get(_STRIP_OFFSETS, ()), tags.get(_STRIP_BYTES, ())
    if rows < 1 or not len(offsets) == len(lengths) == -(-height // rows):
        raise HeaderError("a page's strips do not make up its rows")
    strips = tuple((int(a), int(b)) for a, b in zip(offsets, lengths, strict=True))
    return TiffPage(width, height, dtype, compression, rows, strips, _spacing(tags))


def _spacing(tags: Mapping[int, Sequence[float]]) -> tuple[float, float] | None:
    """In-plane spacing in mm, where both resolutions and their unit are given; as ITK takes them."""
    if _X_RESOLUTION not in tags or _Y_RESOLUTION not in tags or _UNIT not in tags:
        return None
    if any(len(tags[tag]) != 1 for tag in (_X_RESOLUTION, _Y_RESOLUTION, _UNIT)):
        raise HeaderError("a page has several resolutions")
    per_x, per_y, unit = tags[_X_RESOLUTION][0], tags[_Y_RESOLUTION][0], tags[_UNIT][0]
    if unit not in _MM_PER_UNIT:
        return None
    if not (0 < per_x < math.inf and 0 < per_y < math.inf):
        raise HeaderError(f"its resolution is {per_x:g} x {per_y:g}")
    return _MM_PER_UNIT[int(unit)] / per_x, _MM_PER_UNIT[int(unit)] / per_y


def _check_places(places: Sequence[tuple[int, int]], size: int) -> None:
    """No two directories or strips share a byte, and all lie inside the file."""
    before = 0
    for start, length in sorted(places):
        if start + length > size:
            raise HeaderError("a page's data lie beyond the end of the file")
        if start < before:
            raise HeaderError("pages share their data")
        before = start + length


def _packed_rows(content: bytes, rows: int, row_bytes: int) -> bool:
    """Whether PackBits runs fill so many rows exactly, none reaching into the next."""
    place = 0
    for _ in range(rows):
        left = row_bytes
        while left > 0 and place < len(content):
            mark = content[place]
            place += 1
            if mark == 128:
                continue
            count = mark + 1 if mark < 128 else 257 - mark
            place += count if mark < 128 else 1
            left -= count
        if left or place > len(content):
            return False
    return not any(_runs(content[place:]))


def _runs(rest: bytes) -> Iterator[bool]:
    """What follows the last row: anything but padding counts."""
    yield from (byte not in (0, 128) for byte in rest)


def _exactly(file: BinaryIO, count: int) -> bytes:
    content = file.read(count)
    if len(content) < count:
        raise EOFError("within its directory of pages")
    return content
