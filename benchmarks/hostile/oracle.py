"""What a spoilt file means, by readers that share no code with deeppsma's.

A file that is accepted with other masks must be one of which an independent
reader makes other content: a changed voxel, another valid spacing. That
content is written anew, clean, and run: the masks must be the same. If the
independent reader finds no meaning, or another one, a mutation has passed
without a word, and that is a failure.

MHA is read here by the few rules of its documentation, NIfTI by nibabel,
TIFF by Pillow, transform files by their formulas, JSON and TOML by Python's
own readers, checkpoints by torch after their checksums.
"""

from __future__ import annotations

import io
import json
import re
import tomllib
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_META_TYPES = {"CHAR": "i1", "UCHAR": "u1", "SHORT": "i2", "USHORT": "u2", "INT": "i4", "UINT": "u4", "LONG": "i4"}
_META_TYPES |= {"ULONG": "u4", "LONG_LONG": "i8", "ULONG_LONG": "u8", "FLOAT": "f4", "DOUBLE": "f8"}


class NoMeaning(Exception):  # noqa: N818 - an answer, not an error
    """The file means nothing, or not one thing only."""


def rewritten(path: Path, original: bytes) -> bytes:
    """A clean file of the same meaning.

    Parameters
    ----------
    path
        The spoilt file.
    original
        What it was, for formats that are rewritten in the same frame.

    Raises
    ------
    NoMeaning
        If it has none.
    """
    name = path.name.lower()
    content = path.read_bytes()
    readers: dict[tuple[str, ...], Callable[[], bytes]] = {
        (".mha",): lambda: _meta(content),
        (".nii", ".nii.gz"): lambda: _nifti(path),
        (".tif",): lambda: _tiff(content, original),
        (".tfm",): lambda: _transform(content.decode("ascii")),
        (".json",): lambda: json.dumps(_unique_json(content), indent=2).encode(),
        (".toml",): lambda: _toml(tomllib.loads(content.decode("utf-8"))).encode(),
        (".safetensors",): lambda: _safetensors(content),
        (".pth",): lambda: _checkpoint(content),
    }
    try:
        return next(reader for endings, reader in readers.items() if name.endswith(endings))()
    except NoMeaning:
        raise
    except Exception as error:  # noqa: BLE001 - readers say in their own ways that a file is broken
        raise NoMeaning(f"{type(error).__name__}: {error}") from None


def _meta(content: bytes) -> bytes:
    header: dict[str, str] = {}
    rest = content
    while "ElementDataFile" not in header:
        line, newline, rest = rest.partition(b"\n")
        if not newline:
            raise NoMeaning("the header does not end")
        if line.strip():
            key, equals, value = line.decode("latin-1").partition("=")
            if not equals or (key.strip() in header and key.strip() in _META_RULES):
                raise NoMeaning(f"line {key!r}")
            header[key.strip()] = value.strip()
    for key, rule in _META_RULES.items():
        if key in header and not re.fullmatch(rule, header[key]):
            raise NoMeaning(f"{key} = {header[key]}")
    places = [header[key] for key in ("Offset", "Position", "Origin", "ImagePosition") if key in header]
    turns = [header[key] for key in ("TransformMatrix", "Rotation", "Orientation") if key in header]
    spacings = [header[key] for key in ("ElementSpacing", "ElementSize") if key in header]
    if len(places) > 1 or len(turns) > 1 or len(orders := [v for k, v in header.items() if k.endswith("OrderMSB")]) > 1:
        raise NoMeaning("said twice")
    shape = [int(word) for word in header["DimSize"].split()]
    kind = _META_TYPES[header["ElementType"].removeprefix("MET_")]
    big = bool(orders) and orders[0].lower() in ("true", "1")
    data = rest
    if header.get("CompressedData", "False").lower() in ("true", "1"):
        if "CompressedDataSize" in header and int(header["CompressedDataSize"]) != len(rest):
            raise NoMeaning("compressed size")
        stream = zlib.decompressobj()
        data = stream.decompress(rest)
        if not stream.eof or stream.unused_data:
            raise NoMeaning("compressed data")
    voxels = np.frombuffer(data, np.dtype(kind).newbyteorder(">" if big else "<"))
    if voxels.size != np.prod(shape) or len(shape) != 3:
        raise NoMeaning("length of voxels")
    spacing, origin = _floats(_or(spacings, "1 1 1"), 3), _floats(_or(places, "0 0 0"), 3)
    return write_meta(voxels.astype(kind), shape, spacing, origin, _floats(_or(turns, "1 0 0 0 1 0 0 0 1"), 9))


_META_RULES = {
    "ObjectType": "Image",
    "NDims": "3",
    "BinaryData": "True|true|TRUE|1",
    "CompressedData": "True|true|TRUE|1|False|false|FALSE|0",
    "CompressedDataSize": r"-?\d+",
    "BinaryDataByteOrderMSB": "True|true|TRUE|1|False|false|FALSE|0",
    "ElementByteOrderMSB": "True|true|TRUE|1|False|false|FALSE|0",
    "ElementNumberOfChannels": "1",
    "HeaderSize": "0|-1",
    "ElementDataFile": "LOCAL|Local|local",
    "DistanceUnits": r"mm|\?|",
    "ElementToIntensityFunctionSlope": r"1(\.0*)?",
    "ElementToIntensityFunctionOffset": r"0(\.0*)?",
    "DimSize": ".*",
    "ElementType": ".*",
    "ElementSpacing": ".*",
    "ElementSize": ".*",
    "Offset": ".*",
    "Position": ".*",
    "Origin": ".*",
    "ImagePosition": ".*",
    "TransformMatrix": ".*",
    "Rotation": ".*",
    "Orientation": ".*",
}


def _or(given: Sequence[str], otherwise: str) -> str:
    return given[0] if given else otherwise


def _floats(text: str, count: int) -> list[float]:
    numbers = [float(word) for word in text.split()]
    if len(numbers) != count or not np.isfinite(numbers).all() or "_" in text:
        raise NoMeaning(f"numbers {text!r}")
    return numbers


def write_meta(
    voxels: NDArray, shape_xyz: Sequence[int], spacing: Sequence[float], origin: Sequence[float], rows: Sequence[float]
) -> bytes:
    """An uncompressed MHA, written by hand; ``rows`` are its TransformMatrix."""
    kind = next(name for name, code in _META_TYPES.items() if code == voxels.dtype.str[1:] and name != "LONG")
    lines = ["ObjectType = Image", "NDims = 3", "BinaryData = True", "BinaryDataByteOrderMSB = False"]
    lines += ["CompressedData = False", f"TransformMatrix = {' '.join(map(repr, rows))}"]
    lines += [f"Offset = {' '.join(map(repr, origin))}", f"ElementSpacing = {' '.join(map(repr, spacing))}"]
    lines += [f"DimSize = {' '.join(map(str, shape_xyz))}", f"ElementType = MET_{kind}", "ElementDataFile = LOCAL"]
    return ("\n".join(lines) + "\n").encode() + voxels.astype(voxels.dtype.newbyteorder("<")).tobytes()


def _nifti(path: Path) -> bytes:
    import nibabel

    image = nibabel.load(path)
    if not isinstance(image, nibabel.Nifti1Image):
        raise NoMeaning("no NIfTI-1")
    header: Any = image.header
    units = header.get_xyzt_units()[0]
    scale = {"mm": 1.0, "unknown": 1.0, "meter": 1000.0, "micron": 0.001}[units]
    voxels = np.asanyarray(image.dataobj)
    while voxels.ndim > 3 and voxels.shape[-1] == 1:
        voxels = voxels[..., 0]
    if voxels.ndim != 3:
        raise NoMeaning(f"{voxels.ndim} axes")
    if voxels.dtype.str[1:] not in _META_TYPES.values():
        voxels = voxels.astype(np.float32)
    if header["qform_code"] <= 0 and header["sform_code"] <= 0:
        affine = np.diag([*header.get_zooms()[:3], 1.0])
    else:
        affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or not np.allclose(spacing, header.get_zooms()[:3], rtol=1e-2):
        raise NoMeaning("two spacings")
    rows = (affine[:3, :3] / spacing).T.ravel().tolist()
    # The spacing that everything else goes by is in single precision in the header.
    exact = [float(mm) * scale for mm in header["pixdim"][1:4]]
    origin = (affine[:3, 3] * scale).tolist()
    return write_meta(voxels.transpose(2, 1, 0).ravel(), voxels.shape, exact, origin, rows)


def _tiff(content: bytes, original: bytes) -> bytes:
    """Pages in Pillow's eyes, with this page size's spacing."""
    from PIL import Image

    def pages(data: bytes) -> tuple[list[NDArray], Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            image: Any = Image.open(io.BytesIO(data))
            out = []
            for number in range(getattr(image, "n_frames", 1)):
                image.seek(number)
                out.append(np.array(image))
            tags = {tag: image.tag_v2.get(tag) for tag in (282, 283, 296)}
        return out, tags

    kept, tags = pages(content)
    before, _ = pages(original)
    if len({page.shape for page in kept}) != 1 or kept[0].ndim != 2 or kept[0].dtype.kind == "b":
        raise NoMeaning("pages of different shapes")
    dtype = before[0].dtype if kept[0].dtype == before[0].dtype else kept[0].dtype
    unit = {2: 25.4, 3: 10.0}.get(tags[296] or 1)
    flat = unit is None or not tags[282] or not tags[283]
    spacing = [1.0, 1.0, 1.0] if flat or unit is None else [unit / float(tags[282]), unit / float(tags[283]), 1.0]
    voxels = np.stack(kept).astype(dtype)
    return write_meta(voxels.ravel(), voxels.shape[::-1], spacing, [0.0] * 3, [1, 0, 0, 0, 1, 0, 0, 0, 1])


def _transform(text: str) -> bytes:
    found = re.fullmatch(
        r"#Insight Transform File V1\.0.*\n(?:#.*\n|\s*\n)*"
        r"\s*Transform\s*:\s*Euler3DTransform_(?:double|float)_3_3\s*\n(?:#.*\n|\s*\n)*"
        r"\s*Parameters\s*:(.*)\n(?:#.*\n|\s*\n)*\s*FixedParameters\s*:(.*)\n(?:#.*\n|\s*\n)*",
        text,
    )
    if found is None:
        raise NoMeaning("no Euler3DTransform")
    a, b, c, *translation = _floats(found[1], 6)
    fixed = [float(word) for word in found[2].split()]
    if len(fixed) not in (3, 4) or not np.isfinite(fixed).all() or "_" in found[2]:
        raise NoMeaning("fixed parameters")
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    rotation = z @ y @ x if len(fixed) == 4 and fixed[3] != 0 else z @ x @ y
    numbers = " ".join(map(repr, [*rotation.ravel().tolist(), *translation]))
    centre = " ".join(map(repr, fixed[:3]))
    return (
        "#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_3_3\n"
        f"Parameters: {numbers}\nFixedParameters: {centre}\n"
    ).encode()


def _unique_json(content: bytes) -> Any:
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in items}) < len(items):
            raise NoMeaning("a key twice")
        return dict(items)

    def constant(name: str) -> Any:
        raise NoMeaning(name)

    return json.loads(content.decode("utf-8"), object_pairs_hook=pairs, parse_constant=constant)


def _toml(content: dict[str, Any]) -> str:
    tables = {key: value for key, value in content.items() if isinstance(value, dict)}
    lines = [f"{key} = {json.dumps(value)}" for key, value in content.items() if key not in tables]
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def _safetensors(content: bytes) -> bytes:
    from safetensors.numpy import load, save

    return save(load(content))


def _checkpoint(content: bytes) -> bytes:
    import torch

    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if bad := archive.testzip():
            raise NoMeaning(f"checksum of {bad}")
    held = torch.load(io.BytesIO(content), weights_only=True)
    out = io.BytesIO()
    torch.save(held, out)
    return out.getvalue()
