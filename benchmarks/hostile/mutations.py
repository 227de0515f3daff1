"""Ways to spoil a file, each by a seeded generator: what a format's fields allow, then its bytes."""

from __future__ import annotations

import gzip
import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

Rng = np.random.Generator
Mutation = Callable[[bytes, Rng], bytes]

NUMBERS: tuple[str, ...] = (
    "0",
    "-1",
    "1",
    "2",
    "3",
    "1e308",
    "-1e308",
    "1e-320",
    "nan",
    "inf",
    "-inf",
    "1.5",
    "0x10",
    "1_0",
    chr(0x661),
    "",
    "x",
)
NUMBERS += ("99999999999999999999", "4294967296", "2147483648", "65536", "-0", "1e999", "0,5", "2.0001", "3.9999")
WORDS = (
    "",
    " ",
    "True",
    "False",
    "true",
    "1",
    "0",
    "yes",
    "None",
    "null",
    "LOCAL",
    "LIST",
    "x.raw",
    "../x",
    "é",
    "\x00",
    "a" * 300,
)
META_LINES = (
    "bitpix = 16",
    "vox_offset = 352",
    "bitpix = x",
    "ElementNumberOfChannels = 1",
    "ElementNumberOfChannels = 2",
    "HeaderSize = 4",
    "HeaderSize = -1",
    "CompressedDataSize = 10",
    "CompressedData = True",
    "CompressedData = False",
    "BinaryData = False",
    "ElementByteOrderMSB = True",
    "BinaryDataByteOrderMSB = True",
    "Position = 9 9 9",
    "Origin = 9 9 9",
    "ImagePosition = 9 9 9",
    "Orientation = -1 0 0 0 -1 0 0 0 1",
    "Rotation = 0 1 0 1 0 0 0 0 1",
    "ElementSize = 9 9 9",
    "ElementSpacing = 2 2 2",
    "elementspacing = 2 2 2",
    "DimSize = 5 5 5",
    "NDims = 2",
    "ElementType = MET_SHORT",
    "ElementToIntensityFunctionSlope = 2",
    "DistanceUnits = um",
    "Comment = hello = there",
    "0010|0010 = A^B",
    "junk",
    "= 3",
    "",
    "ElementDataFile = LOCAL",
    "ElementDataFile = LIST",
    "ElementDataFile = image.mha",
)
META_TYPES: tuple[str, ...] = (
    "MET_CHAR",
    "MET_UCHAR",
    "MET_SHORT",
    "MET_USHORT",
    "MET_INT",
    "MET_UINT",
    "MET_LONG",
    "MET_ULONG",
)
META_TYPES += ("MET_LONG_LONG", "MET_FLOAT", "MET_DOUBLE", "MET_STRING", "MET_OTHER", "met_float", "MET_FLOAT_ARRAY")


def any_bytes(content: bytes, rng: Rng) -> bytes:
    """Flip, cut, lengthen, repeat or blank some bytes."""
    data = bytearray(content)
    how = rng.integers(7)
    place = int(rng.integers(max(1, len(data))))
    if how == 0:
        for spot in rng.integers(0, max(1, len(data)), int(rng.integers(1, 5))):
            data[spot] = int(rng.integers(256))
    elif how == 1:
        del data[place:]
    elif how == 2:
        data += rng.bytes(int(rng.integers(1, 40)))
    elif how == 3:
        del data[place : place + int(rng.integers(1, 9))]
    elif how == 4:
        data[place:place] = rng.bytes(int(rng.integers(1, 9)))
    elif how == 5:
        data[place : place + 8] = bytes(min(8, len(data) - place))
    else:
        data[place] ^= 1 << int(rng.integers(8))
    return bytes(data)


def header_bytes(count: int) -> Mutation:
    """Change bytes among the first ``count``."""

    def mutate(content: bytes, rng: Rng) -> bytes:
        return any_bytes(content[:count], rng) + content[count:]

    return mutate


def meta_image(content: bytes, rng: Rng) -> bytes:
    """Change lines, keys and values of an MHA header, or pack its voxels otherwise."""
    end = content.index(b"LOCAL\n") + 6
    lines, body = content[:end].decode("latin-1").splitlines(), content[end:]
    at = int(rng.integers(len(lines)))
    key, _, value = lines[at].partition(" = ")
    how = int(rng.integers(12))
    if how == 0:
        del lines[at]
    elif how == 1:
        lines.insert(at, lines[int(rng.integers(len(lines)))])
    elif how in (2, 3, 4):
        lines.insert(int(rng.integers(len(lines))), str(rng.choice(META_LINES)))
    elif how in (5, 6, 7):
        lines[at] = f"{key} = {_other_value(value, rng)}"
    elif how == 8:
        lines[at] = f"{rng.choice([key.lower(), key.upper(), key + 'x', key[1:], ' ' + key, key + '=='])} = {value}"
    elif how == 9:
        lines[at] = lines[at].replace(" = ", str(rng.choice(["=", ": ", " ", "\t=\t", " = = ", " =\n"])))
    elif how == 10:
        other = int(rng.integers(len(lines)))
        lines[at], lines[other] = lines[other], lines[at]
    else:
        lines, body = _packed_otherwise(lines, body, rng)
    newline = "\r\n" if rng.integers(20) == 0 else "\n"
    return (newline.join(lines) + newline).encode("latin-1", errors="replace") + body


def _other_value(value: str, rng: Rng) -> str:
    words = value.split()
    how = int(rng.integers(5))
    if not words or how == 0:
        return str(rng.choice(WORDS + META_TYPES))
    at = int(rng.integers(len(words)))
    if how == 1:
        del words[at]
    elif how == 2:
        words.insert(at, words[at])
    elif how == 3 and words[0].startswith("MET_"):
        words[0] = str(rng.choice(META_TYPES))
    else:
        words[at] = str(rng.choice(NUMBERS))
    return " ".join(words)


def _packed_otherwise(lines: list[str], body: bytes, rng: Rng) -> tuple[list[str], bytes]:
    if any(line == "CompressedData = True" for line in lines):
        plain = zlib.decompress(body)
        body = zlib.compress(any_bytes(plain, rng), int(rng.integers(1, 10)))
        if rng.integers(2):
            lines = [f"CompressedDataSize = {len(body)}" if "DataSize" in line else line for line in lines]
        return lines, body
    kept = [line for line in lines if not line.startswith("CompressedData")]
    size = len(packed := zlib.compress(body)) + int(rng.choice([0, 0, 0, 1, -1, 100]))
    return ["CompressedData = True", f"CompressedDataSize = {size}", *kept], packed


_NIFTI_FIELDS = (
    *((40 + 2 * i, "h") for i in range(8)),
    *((56 + 4 * i, "f") for i in range(3)),
    *((offset, "h") for offset in (68, 70, 72, 74, 252, 254)),
    *((76 + 4 * i, "f") for i in range(8)),
    (108, "f"),
    (112, "f"),
    (116, "f"),
    (120, "h"),
    (122, "B"),
    (123, "B"),
    (0, "i"),
    *((256 + 4 * i, "f") for i in range(6)),
    *((280 + 4 * i, "f") for i in range(12)),
    *((344 + i, "B") for i in range(8)),
)


def nifti(content: bytes, rng: Rng) -> bytes:
    """Change fields of a NIfTI header."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 3))):
        offset, kind = _NIFTI_FIELDS[int(rng.integers(len(_NIFTI_FIELDS)))]
        if kind == "f":
            (now,) = struct.unpack_from("<f", data, offset)
            choices = [0.0, -now, now * 2, now + 1, 1e30, -1.0, float("nan"), float("inf"), 348.0, 356.0, 352.5, 1e-30]
            struct.pack_into("<f", data, offset, float(rng.choice(choices)))
        else:
            limit = 1 << (8 * struct.calcsize(kind))
            choices = [0, 1, 2, 3, 4, 5, 8, 16, 64, 128, 256, 512, 540, 1007, limit - 1, limit // 2, limit // 2 - 1]
            value = int(rng.choice(choices)) % limit
            struct.pack_into(f"<{kind}", data, offset, value - limit if kind != "B" and value >= limit // 2 else value)
    return bytes(data)


def inside_gzip(mutate: Mutation) -> Mutation:
    """A mutation of what a gzip file holds."""
    return lambda content, rng: gzip.compress(mutate(gzip.decompress(content), rng), int(rng.integers(1, 10)), mtime=0)


def tiff(content: bytes, rng: Rng) -> bytes:
    """Change entries of a TIFF's directories, or where they are."""
    data = bytearray(content)
    places: list[tuple[int, int]] = []
    (offset,) = struct.unpack_from("<I", data, 4)
    while offset and len(places) < 100:
        (count,) = struct.unpack_from("<H", data, offset)
        places.append((offset, count))
        (offset,) = struct.unpack_from("<I", data, offset + 2 + 12 * count)
    directory, count = places[int(rng.integers(len(places)))]
    entry = directory + 2 + 12 * int(rng.integers(count))
    how = int(rng.integers(7))
    if how == 0:
        struct.pack_into("<I", data, directory + 2 + 12 * count, int(rng.choice([p for p, _ in places] + [0, 1 << 31])))
    elif how == 1:
        struct.pack_into("<H", data, entry, int(rng.integers(250, 345)))
    elif how == 2:
        struct.pack_into("<H", data, entry + 2, int(rng.integers(0, 20)))
    elif how == 3:
        struct.pack_into("<I", data, entry + 4, int(rng.choice([0, 1, 2, 3, 1 << 20, (1 << 32) - 1])))
    elif how == 4:
        struct.pack_into("<H", data, directory, int(rng.choice([0, count - 1, count + 1, 65535])))
    elif how == 5:
        for each, number in places:  # the same entry of every page
            spot = each + 2 + 12 * (min(number - 1, (entry - directory - 2) // 12))
            struct.pack_into("<H", data, spot + 8, int(rng.choice([0, 1, 2, 3, 4, 5, 8, 16, 32773])))
    else:
        (now,) = struct.unpack_from("<I", data, entry + 8)
        choices = [0, 1, 2, 3, 4, 5, 7, 8, 16, 64, now + 1, max(0, now - 1), now * 2, 32773, 32946, (1 << 32) - 1]
        struct.pack_into("<I", data, entry + 8, int(rng.choice(choices)) % (1 << 32))
    return bytes(data)


def words_of_text(content: bytes, rng: Rng) -> bytes:
    """Change words and lines of a text."""
    lines = content.decode("utf-8").splitlines()
    at = int(rng.integers(len(lines)))
    words = lines[at].split(" ")
    spot = int(rng.integers(len(words)))
    how = int(rng.integers(8))
    if how == 0:
        del lines[at]
    elif how == 1:
        lines.insert(at, lines[int(rng.integers(len(lines)))])
    elif how == 2:
        del words[spot]
    elif how == 3:
        words.insert(spot, words[spot])
    elif how == 4:
        words[spot] = str(rng.choice(WORDS))
    elif how == 5:
        lines = lines * 2
    else:
        words[spot] = str(rng.choice(NUMBERS))
    if how in (2, 3, 4, 6, 7):
        lines[at] = " ".join(words)
    return ("\n".join(lines) + ("\n" if rng.integers(8) else "")).encode("utf-8", errors="replace")


_JSON_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    3,
    1.5,
    2.75,
    1e308,
    -1e-320,
    10**30,
    "",
    "x",
    "3",
    [],
    {},
    [1],
)
_JSON_VALUES += (["a", None], {"a": 1}, float("nan"), float("inf"), "../x", "/etc/passwd", "a\0b", "é", "x" * 5000)


def json_tree(content: bytes, rng: Rng) -> bytes:
    """Change a value, a key or the nesting of a JSON text."""
    tree = json.loads(content)
    places = list(_places(tree, ()))
    path = places[int(rng.integers(len(places)))]
    how = int(rng.integers(8))
    value = _JSON_VALUES[int(rng.integers(len(_JSON_VALUES)))]
    if how == 7:
        text = json.dumps(tree)
        depth = int(rng.choice([5, 2000, 100_000]))
        return (text.replace("1", "[" * depth + "]" * depth, 1) if rng.integers(2) else "[" * depth).encode()
    if how == 6:
        text = json.dumps(tree)
        keys = list(re.finditer(r'"(\w+)": ', text))
        if not keys:
            return text.encode()
        key = keys[int(rng.integers(len(keys)))]
        return (text[: key.start()] + key[0] + json.dumps(value) + ", " + text[key.start() :]).encode()
    return json.dumps(_changed(tree, path, value, how)).encode()


def _places(tree: Any, path: tuple[Any, ...]) -> Any:
    yield path
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield from _places(value, (*path, key))


def _changed(tree: Any, path: tuple[Any, ...], value: Any, how: int) -> Any:
    if not path:
        return value if how < 3 else [tree] if how == 3 else tree
    holder = tree
    for key in path[:-1]:
        holder = holder[key]
    last = path[-1]
    if how == 0:
        del holder[last]
    elif how == 1:
        holder[last] = [holder[last]]
    elif how == 2 and isinstance(holder, dict):
        holder[f"{last}x"] = holder.pop(last)
    elif how == 3 and isinstance(holder, list):
        holder.insert(last, holder[last])
    elif isinstance(holder[last], int | float) and not isinstance(holder[last], bool) and how == 4:
        holder[last] = holder[last] * 2 + 0.25
    else:
        holder[last] = value
    return tree


def tensors(content: bytes, rng: Rng) -> bytes:
    """Change the table of a safetensors file, or its numbers."""
    (length,) = struct.unpack_from("<Q", content)
    table, body = content[8 : 8 + length], content[8 + length :]
    if rng.integers(3) == 0:
        data = bytearray(body)
        spot = 2 * int(rng.integers(len(data) // 2))
        data[spot : spot + 2] = np.float16(rng.choice([0.5, -3.0, np.nan, np.inf])).tobytes()
        return content[: 8 + length] + bytes(data)
    if rng.integers(2):
        changed = json_tree(table, rng)
        return struct.pack("<Q", len(changed)) + changed + body
    return struct.pack("<Q", int(rng.choice([0, 1, length - 1, length + 8, 1 << 62]))) + table + body


def checkpoint(content: bytes, rng: Rng) -> bytes:
    """Change the pickle inside a torch checkpoint, its members, or its tensors."""
    if rng.integers(3) == 0:
        return _other_tensors(content, rng)
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as new:
        names = old.namelist()
        chosen = next(n for n in names if n.endswith("data.pkl")) if rng.integers(2) else str(rng.choice(names))
        for name in names:
            data = old.read(name)
            if name == chosen and rng.integers(12) == 0:
                continue
            new.writestr(name, any_bytes(data, rng) if name == chosen and data else data)
    return out.getvalue()


def _other_tensors(content: bytes, rng: Rng) -> bytes:
    import torch

    held = torch.load(io.BytesIO(content), weights_only=True)
    weights = held["network_weights"]
    key = str(rng.choice(list(weights)))
    now = weights[key]
    changes: list[Callable[[], Any]] = [
        lambda: now.to(torch.float8_e4m3fn),
        now.to_sparse,
        lambda: now.to("meta"),
        lambda: now * float("nan"),
        lambda: now.to(torch.complex64),
        lambda: now.to(torch.int32),
        lambda: now.to(torch.bfloat16),
        now.double,
        lambda: now * 2,
        lambda: now.reshape(-1),
        lambda: torch.zeros(1).expand(1 << 40),
        lambda: now.unsqueeze(0),
        lambda: "text",
        lambda: None,
        lambda: [now],
        lambda: torch.nn.Parameter(now),
    ]
    weights[key] = changes[int(rng.integers(len(changes)))]()
    if rng.integers(4) == 0:
        field = str(rng.choice(["init_args", "inference_allowed_mirroring_axes", "network_weights", "trainer_name"]))
        held[field] = [None, 3, "x", (0, 7), (1.5,), {}, [[0]], float("nan")][int(rng.integers(8))]
    out = io.BytesIO()
    torch.save(held, out)
    return out.getvalue()
