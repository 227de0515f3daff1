"""Headers of NIfTI-1 files (``.nii``, ``.nii.gz``).

Source: the NIfTI-1 standard (https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h).
"""

from __future__ import annotations

import math
import struct

import numpy as np
from numpy.typing import NDArray

from deeppsma.io.headers import HeaderError, StoredImage, same_place, upright

HEADER_BYTES = 352
_SIZE, _SIZE_2 = 348, 540
_TYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
#: Codes of several values per voxel: complex, RGB, RGBA.
_SEVERAL = {32: 2, 1792: 2, 128: 3, 2304: 4}
#: Units of length: not said, metre, mm, micrometre; in mm.
_UNITS_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
#: How far the two positions of a header, or a matrix and its own spacing, may differ: single precision loses less.
_SAME_SHARE = 1e-3
_HALF_TURN = 1e-7
_LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_nifti_header(content: bytes) -> StoredImage:
    """Header from a file's first `HEADER_BYTES`, decompressed.

    Raises
    ------
    HeaderError
        If it is no NIfTI-1 header of a single file, or a field is broken or
        contradicts another.
    """
    if len(content) < HEADER_BYTES:
        raise HeaderError("it ends within its header")
    sizes = {order: struct.unpack_from(f"{order}i", content)[0] for order in "<>"}
    if _SIZE_2 in sizes.values():
        raise HeaderError("its header is NIfTI-2, or no NIfTI-1")
    order = next((each for each, size in sizes.items() if size == _SIZE), None)
    if order is None or content[344:348] != b"n+1\0":
        raise HeaderError("its header is no NIfTI-1 of a single file")
    dims = struct.unpack_from(f"{order}8h", content, 40)
    datatype, bits = struct.unpack_from(f"{order}2h", content, 70)
    shape = _shape(dims)
    dtype, components = _type(datatype, bits)
    (offset,) = struct.unpack_from(f"{order}f", content, 108)
    if not math.isfinite(offset) or offset != int(offset) or offset < HEADER_BYTES:
        raise HeaderError(f"vox_offset is {offset:g}; voxels of a single file begin at {HEADER_BYTES} or later")
    slope, inter = struct.unpack_from(f"{order}2f", content, 112)
    if not (math.isfinite(slope) and math.isfinite(inter)) or (slope == 0 and inter != 0):
        raise HeaderError(f"scl_slope is {slope:g} and scl_inter {inter:g}")
    rescaled = slope != 0 and (slope, inter) != (1.0, 0.0)
    if len(shape) != 3:
        return StoredImage(shape, (1, 1, 1), (0, 0, 0), upright(), dtype, components, int(offset))
    spacing, origin, direction, unsaid = _position(content, order, shape)
    return StoredImage(shape, spacing, origin, direction, dtype, components, int(offset), unsaid, rescaled)


def _shape(dims: tuple[int, ...]) -> tuple[int, ...]:
    count = dims[0]
    if not 1 <= count <= 7 or any(n < 1 for n in dims[1 : count + 1]):
        raise HeaderError(f"dim is {' '.join(map(str, dims))}")
    shape = list(dims[1 : count + 1])
    while len(shape) > 3 and shape[-1] == 1:  # a fourth axis of one is none
        shape.pop()
    return tuple(shape)


def _type(datatype: int, bits: int) -> tuple[str, int]:
    if datatype in _SEVERAL:
        return "f4", _SEVERAL[datatype]
    if datatype not in _TYPES:
        raise HeaderError(f"datatype is {datatype}")
    dtype = _TYPES[datatype]
    if bits != 8 * np.dtype(dtype).itemsize:
        raise HeaderError(f"datatype {datatype} has {8 * np.dtype(dtype).itemsize} bits, and bitpix is {bits}")
    return dtype, 1


def _position(
    content: bytes, order: str, shape: tuple[int, ...]
) -> tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, ...], tuple[str, ...]]:
    """Spacing, origin, direction as ITK has them (LPS), and what is left open."""
    unsaid = []
    units = content[123] & 7
    if units not in _UNITS_MM:
        raise HeaderError(f"xyzt_units is {content[123]}, no unit of length")
    if units == 0:
        unsaid.append("the NIfTI header holds no unit of length; mm assumed")
    pixdim = struct.unpack_from(f"{order}8f", content, 76)
    if not all(math.isfinite(mm) and mm > 0 for mm in pixdim[1:4]):
        raise HeaderError(f"pixdim is {' '.join(f'{mm:g}' for mm in pixdim[1:4])}; it must be above 0")
    qform_code, sform_code = struct.unpack_from(f"{order}2h", content, 252)
    quaternion = _quaternion_matrix(content, order, pixdim) if qform_code > 0 else None
    if qform_code <= 0 and sform_code <= 0:
        unsaid.append("the NIfTI header holds no position; upright axes at 0 assumed")
        matrix = np.diag([*pixdim[1:4], 1.0])
        return _parts(matrix, pixdim, _UNITS_MM[units], tuple(unsaid))
    if sform_code > 0:
        matrix = np.eye(4)
        matrix[:3] = np.array(struct.unpack_from(f"{order}12f", content, 280)).reshape(3, 4)
        _check_sform(matrix, pixdim)
        # A quaternion in single precision turns by up to 0.3 thousandths near half a turn.
        tolerance = _SAME_SHARE * max(mm * count for mm, count in zip(pixdim[1:4], shape, strict=True))
        if qform_code > 0 and (quaternion is None or not same_place(matrix, quaternion, shape, tolerance)):
            unsaid.append("the NIfTI header's sform and qform disagree; the sform is taken")
    else:
        if quaternion is None:
            raise HeaderError("its only position, the qform, is broken")
        matrix = quaternion
    return _parts(_LPS_FROM_RAS @ matrix, pixdim, _UNITS_MM[units], tuple(unsaid))


def _parts(
    matrix: NDArray[np.float64], pixdim: tuple[float, ...], unit_mm: float, unsaid: tuple[str, ...]
) -> tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, ...], tuple[str, ...]]:
    cosines = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    sx, sy, sz = (float(mm) * unit_mm for mm in pixdim[1:4])
    ox, oy, oz = (float(mm) * unit_mm for mm in matrix[:3, 3])
    return (sx, sy, sz), (ox, oy, oz), tuple(cosines.ravel().tolist()), unsaid


def _check_sform(matrix: NDArray[np.float64], pixdim: tuple[float, ...]) -> None:
    if not np.isfinite(matrix).all():
        raise HeaderError("its sform holds NaN or infinite numbers")
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    if not np.allclose(lengths, pixdim[1:4], rtol=_SAME_SHARE, atol=0):
        said = " x ".join(f"{mm:.4g}" for mm in lengths), " x ".join(f"{mm:.4g}" for mm in pixdim[1:4])
        raise HeaderError(f"its sform says voxels of {said[0]} mm, its pixdim {said[1]}")
    cosines = matrix[:3, :3] / lengths
    if not np.allclose(cosines.T @ cosines, np.eye(3), atol=_SAME_SHARE):
        raise HeaderError("its sform is sheared")


def _quaternion_matrix(content: bytes, order: str, pixdim: tuple[float, ...]) -> NDArray[np.float64] | None:
    """From index to world (RAS); None where the numbers are no rotation."""
    b, c, d, x, y, z = struct.unpack_from(f"{order}6f", content, 256)
    rest = 1 - (b * b + c * c + d * d)
    if not all(map(math.isfinite, (b, c, d, x, y, z))) or rest < -1e-5 or pixdim[0] not in (-1.0, 0.0, 1.0):
        return None
    if rest < _HALF_TURN:  # as niftilib has it: single precision leaves nothing of so small a part
        length = math.sqrt(b * b + c * c + d * d)
        a, b, c, d = 0.0, b / length, c / length, d / length
    else:
        a = math.sqrt(rest)
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    out = np.eye(4)
    out[:3, :3] = rotation * [pixdim[1], pixdim[2], pixdim[3] * (-1 if pixdim[0] < 0 else 1)]
    out[:3, 3] = x, y, z
    return out
