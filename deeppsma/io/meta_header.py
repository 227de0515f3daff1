"""Headers of MetaImage files (``.mha``): lines of ``Key = Value`` before the voxels.

Source: the MetaIO documentation (https://itk.org/Wiki/ITK/MetaIO), and what
ITK 5.4 does with files that leave it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from deeppsma.io.headers import HeaderError, StoredImage, checked_spacing, finite_numbers, upright

_HEADER_MAX_BYTES = 1 << 18
_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
#: Different words for the same thing; a file may use one of them, once.
_SYNONYMS = {
    "position": ("Offset", "Position", "Origin", "ImagePosition"),
    "direction": ("TransformMatrix", "Rotation", "Orientation"),
    "byte order": ("BinaryDataByteOrderMSB", "ElementByteOrderMSB"),
    "spacing": ("ElementSpacing",),
    "size": ("DimSize",),
}
#: Keys that ITK obeys. They are told apart by capitals, and misspelt ones are ignored.
_KNOWN = {
    *(key for keys in _SYNONYMS.values() for key in keys),
    "ObjectType",
    "NDims",
    "ElementType",
    "ElementNumberOfChannels",
    "ElementSize",
    "BinaryData",
    "CompressedData",
    "CompressedDataSize",
    "HeaderSize",
    "ElementDataFile",
    "ElementToIntensityFunctionSlope",
    "ElementToIntensityFunctionOffset",
    "DistanceUnits",
}
_KNOWN_IN_SMALL = {key.lower(): key for key in _KNOWN}
_TRUE, _FALSE = ("True", "true", "TRUE", "1"), ("False", "false", "FALSE", "0")


@dataclass(frozen=True)
class MetaImage:
    """A header, and how its voxels are packed.

    Parameters
    ----------
    stored
        What the header says.
    compressed_bytes
        Length of the zlib stream: None if voxels are not compressed, -1 if
        the header leaves it open.
    """

    stored: StoredImage
    compressed_bytes: int | None


def read_meta_header(file: BinaryIO) -> MetaImage:
    """Header of a MetaImage file whose voxels lie in the same file.

    Parameters
    ----------
    file
        Opened at its beginning; left where voxels begin.

    Raises
    ------
    HeaderError
        If a line, a key or a value is not as the format has it, or would be
        read otherwise by ITK.
    """
    header = _lines(file)
    start = file.tell()
    if header["ElementDataFile"] not in ("LOCAL", "Local", "local"):
        raise HeaderError("its voxels lie in another file")
    for keys in _SYNONYMS.values():
        if len(given := [key for key in keys if key in header]) > 1:
            raise HeaderError(f"{' and '.join(given)} mean the same, and both are there")
    _refuse_what_is_not_read(header)
    dimensions = _whole(header, "NDims", None)
    shape = _sizes(header, dimensions)
    kind, components = header.get("ElementType", ""), _whole(header, "ElementNumberOfChannels", 1)
    if kind not in _TYPES:
        raise HeaderError(f"ElementType is {kind[:40]!r}")
    if components < 1:
        raise HeaderError(f"ElementNumberOfChannels is {components}")
    stored = StoredImage(shape, (1, 1, 1), (0, 0, 0), upright(), _TYPES[kind], components, start)
    if dimensions == 3:
        stored = _placed(header, stored)
    compressed = _flag(header, "CompressedData", False)
    length = _whole(header, "CompressedDataSize", -1)
    if "CompressedDataSize" in header and length < 1 and compressed:
        raise HeaderError(f"CompressedDataSize is {length}")
    return MetaImage(stored, length if compressed else None)


def _lines(file: BinaryIO) -> dict[str, str]:
    header: dict[str, str] = {}
    while "ElementDataFile" not in header:
        line = file.readline(_HEADER_MAX_BYTES)
        if not line.endswith(b"\n") or file.tell() > _HEADER_MAX_BYTES:
            raise HeaderError("its header does not end")
        if not line.strip():
            continue
        key, equals, value = line.decode("latin-1").partition("=")
        name = key.strip()
        if not equals or not name:
            raise HeaderError(
                f"its header has the line {line[:40].decode('latin-1').strip()!r}, which is no 'Key = Value'"
            )
        meant = _KNOWN_IN_SMALL.get(name.lower(), name)
        if meant != name:
            raise HeaderError(f"its header has the key {name}; {meant} is meant, and readers tell capitals apart")
        if name in header and name in _KNOWN:
            raise HeaderError(f"its header gives {name} twice")
        header[name] = value.strip()
    return header


def _refuse_what_is_not_read(header: dict[str, str]) -> None:
    """Refuse what a file may ask for and ITK ignores, or reads in a way of its own."""
    if header.get("ObjectType", "Image") != "Image":
        raise HeaderError(f"ObjectType is {header['ObjectType'][:40]!r}, not Image")
    if not _flag(header, "BinaryData", True):
        raise HeaderError("its voxels are written as text")
    for key in ("BinaryDataByteOrderMSB", "ElementByteOrderMSB"):
        _flag(header, key, False)
    if _whole(header, "HeaderSize", 0) not in (0, -1):
        raise HeaderError("HeaderSize asks for bytes to be passed over")
    if "HeaderSize" in header and header["HeaderSize"] == "-1" and _flag(header, "CompressedData", False):
        raise HeaderError("HeaderSize -1 of compressed voxels")
    for key, neutral in (("ElementToIntensityFunctionSlope", 1.0), ("ElementToIntensityFunctionOffset", 0.0)):
        if key in header and finite_numbers(header[key], 1, key) != (neutral,):
            raise HeaderError(f"{key} is {header[key]}; values are read as they are stored")
    if header.get("DistanceUnits", "mm") not in ("mm", "?", ""):
        raise HeaderError(f"DistanceUnits is {header['DistanceUnits'][:40]!r}, not mm")


def _sizes(header: dict[str, str], dimensions: int) -> tuple[int, ...]:
    words = header.get("DimSize", "").split()
    if not 1 <= dimensions <= 10:
        raise HeaderError(f"NDims is {dimensions}")
    if len(words) != dimensions or not all(_is_whole(word) for word in words):
        raise HeaderError(f"DimSize is {header.get('DimSize', '')[:60]!r}, not {dimensions} whole numbers")
    return tuple(int(word) for word in words)


def _placed(header: dict[str, str], stored: StoredImage) -> StoredImage:
    """The same with its position."""
    unsaid = []
    spacing_key = "ElementSpacing" if "ElementSpacing" in header else "ElementSize"
    spacing: tuple[float, ...] = (1.0, 1.0, 1.0)
    if spacing_key in header:
        spacing = finite_numbers(header[spacing_key], 3, spacing_key)
    else:
        unsaid.append("no ElementSpacing, voxels of 1 mm assumed")
    origin: tuple[float, ...] = (0.0, 0.0, 0.0)
    if key := _given(header, "position"):
        origin = finite_numbers(header[key], 3, key)
    else:
        unsaid.append("no Offset, 0 assumed")
    direction = upright()
    if key := _given(header, "direction"):
        rows = finite_numbers(header[key], 9, key)
        direction = tuple(rows[3 * column + row] for row in range(3) for column in range(3))  # one axis a row
    else:
        unsaid.append("no TransformMatrix, upright axes assumed")
    x, y, z = origin
    return StoredImage(
        stored.shape_xyz,
        checked_spacing(spacing, spacing_key),
        (x, y, z),
        direction,
        stored.dtype,
        stored.components,
        stored.start,
        (f"the MHA header says {'; '.join(unsaid)}",) if unsaid else (),
    )


def _given(header: dict[str, str], what: str) -> str | None:
    return next((key for key in _SYNONYMS[what] if key in header), None)


def _is_whole(word: str) -> bool:
    return word.isascii() and word.removeprefix("-").isdigit() and len(word) <= 18


def _whole(header: dict[str, str], key: str, missing: int | None) -> int:
    if key not in header and missing is not None:
        return missing
    if not _is_whole(header.get(key, "")):
        raise HeaderError(f"{key} is {header.get(key, '')[:40]!r}, not a whole number")
    return int(header[key])


def _flag(header: dict[str, str], key: str, missing: bool) -> bool:
    value = header.get(key, str(missing))
    if value not in _TRUE + _FALSE:
        raise HeaderError(f"{key} is {value[:40]!r}, neither True nor False")
    return value in _TRUE
