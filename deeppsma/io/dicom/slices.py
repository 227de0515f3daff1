"""Slices of a series as one grid: their order and every check that a stack of slices must pass.

Slices are ordered by their position along the normal of their orientation, never by file name or instance number.
Readers elsewhere stretch the spacing over a missing slice, or halve it over a doubled one, without a word; here the
message names the slices and the gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.errors import InputError
from deeppsma.core.geometry import Geometry
from deeppsma.io.dicom.header import Header, tag_of
from deeppsma.io.image_files import SPACING_LIMITS_MM

#: A step between slices may differ from the usual one by this much, mm and share: GE's tables jitter by 0.05 mm.
STEP_TOLERANCE_MM, STEP_TOLERANCE_SHARE = 0.1, 0.01
#: A slice may lie this far, in shares of a step, from where equal steps would put it.
DRIFT_TOLERANCE_STEPS = 0.25
#: Cosines and spacings of one series agree to the digits that headers carry.
ORIENTATION_TOLERANCE, SPACING_TOLERANCE_MM = 1e-3, 1e-3
_EXPORT = "export the series again, whole"


@dataclass(frozen=True)
class Stack:
    """Slices in order, and their grid.

    Parameters
    ----------
    headers
        From the first slice along the normal to the last, one for each position.
    geometry
        Slices are equally spaced in it: their mean step.
    copies
        Further headers at the same positions, as pairs with the kept one: to be compared by pixels.
    notes
        What was noticed: jitter.
    """

    headers: tuple[Header, ...]
    geometry: Geometry
    copies: tuple[tuple[Header, Header], ...] = ()
    notes: tuple[str, ...] = ()


def stack_slices(headers: Sequence[Header]) -> Stack:
    """Order the slices of a series and check that they make a volume.

    Parameters
    ----------
    headers
        Of single-frame images, in any order.

    Raises
    ------
    InputError
        Names the slice and what is wrong: fewer than two, several sizes, orientations or spacings, a tilt, a gap.
    """
    if len(headers) < 2:
        raise InputError(headers[0].path, "a series of one slice", "give a whole volume")
    for keyword in ("Rows", "Columns"):
        _same(headers, keyword)
    rows, columns = (_whole(headers[0], keyword) for keyword in ("Rows", "Columns"))
    spacing_yx = _spacing(headers)
    axes = _axes(headers)
    normal = np.cross(axes[0], axes[1])
    positions = np.array([_three(header, "ImagePositionPatient") for header in headers])
    order = np.argsort(positions @ normal, kind="stable")
    ordered, positions = [headers[i] for i in order], positions[order]
    kept, copies = _doubled(ordered, positions @ normal)
    ordered, positions = [ordered[i] for i in kept], positions[kept]
    if len(ordered) < 2:
        raise InputError(headers[0].path, "all slices at one position", "give a whole volume")
    along = positions @ normal
    _check_tilt(ordered, positions, along, normal)
    notes = _check_steps(ordered, along)
    step = float((along[-1] - along[0]) / (len(along) - 1))
    low, high = SPACING_LIMITS_MM
    if not all(low <= spacing <= high for spacing in (step, *spacing_yx)):
        found = f"voxels of {step:.4g} x {spacing_yx[0]:.4g} x {spacing_yx[1]:.4g} mm"
        raise InputError(ordered[0].path, found, f"{low:g} to {high:g} mm are taken")
    geometry = Geometry(
        (len(ordered), rows, columns),
        (step, *spacing_yx),
        (float(positions[0][0]), float(positions[0][1]), float(positions[0][2])),
        tuple(np.column_stack([*axes, normal]).ravel().tolist()),
    )
    return Stack(tuple(ordered), geometry, tuple((ordered[i], copy) for i, copy in copies), notes)


def _same(headers: Sequence[Header], keyword: str) -> None:
    expected = headers[len(headers) // 2].text(keyword)
    for header in headers:
        if header.text(keyword) != expected:
            found = f"is {header.text(keyword) or 'missing'}, {expected or 'missing'} in other slices"
            raise header.refuse(keyword, found, _EXPORT)


def _whole(header: Header, keyword: str) -> int:
    value = header.number(keyword)
    if value is None or value < 2:
        raise header.refuse(keyword, "is missing" if value is None else f"is {value:g}", _EXPORT)
    return int(value)


def _several(header: Header, keyword: str, count: int) -> NDArray[np.float64]:
    values = header.numbers(keyword)
    if len(values) != count:
        raise header.refuse(keyword, f"holds {len(values)} values, not {count}" if values else "is missing", _EXPORT)
    return np.array(values)


def _three(header: Header, keyword: str) -> NDArray[np.float64]:
    return _several(header, keyword, 3)


def _spacing(headers: Sequence[Header]) -> tuple[float, float]:
    """Spacing of rows, then of columns: y, x."""
    expected = _several(headers[len(headers) // 2], "PixelSpacing", 2)
    for header in headers:
        if np.abs(_several(header, "PixelSpacing", 2) - expected).max() > SPACING_TOLERANCE_MM:
            raise header.refuse("PixelSpacing", "differs from the other slices'", _EXPORT)
    if expected.min() <= 0:
        raise headers[0].refuse("PixelSpacing", "is not positive", _EXPORT)
    return float(expected[0]), float(expected[1])


def _axes(headers: Sequence[Header]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Directions of rows (x) and columns (y), made exactly orthonormal."""
    cosines = [_several(header, "ImageOrientationPatient", 6) for header in headers]
    expected = cosines[len(cosines) // 2]
    for header, found in zip(headers, cosines, strict=True):
        if np.abs(found - expected).max() > ORIENTATION_TOLERANCE:
            raise header.refuse("ImageOrientationPatient", "differs from the other slices'", _EXPORT)
    along_row, along_column = expected[:3], expected[3:]
    lengths = np.linalg.norm(along_row), np.linalg.norm(along_column)
    skew = abs(float(along_row @ along_column))
    if max(abs(float(length) - 1) for length in lengths) > ORIENTATION_TOLERANCE or skew > ORIENTATION_TOLERANCE:
        raise headers[0].refuse("ImageOrientationPatient", "is no pair of perpendicular directions", _EXPORT)
    along_row = along_row / lengths[0]
    along_column = along_column - (along_column @ along_row) * along_row
    return along_row, along_column / np.linalg.norm(along_column)


def _doubled(ordered: Sequence[Header], along: NDArray) -> tuple[list[int], list[tuple[int, Header]]]:
    """Indices of the first slice at each position, and the copies with the number of the kept one they repeat."""
    kept: list[int] = []
    copies: list[tuple[int, Header]] = []
    for i in range(len(ordered)):
        if kept and abs(along[i] - along[kept[-1]]) < SPACING_TOLERANCE_MM:
            copies.append((len(kept) - 1, ordered[i]))
        else:
            kept.append(i)
    return kept, copies


def _check_tilt(ordered: Sequence[Header], positions: NDArray, along: NDArray, normal: NDArray) -> None:
    aside = positions - positions[0] - np.outer(along - along[0], normal)
    steps = np.linalg.norm(np.diff(aside, axis=0), axis=1)
    limits = STEP_TOLERANCE_MM + STEP_TOLERANCE_SHARE * np.diff(along)
    total = float(np.linalg.norm(aside[-1]))
    worst = int(np.argmax(steps))
    if (steps > limits).any():
        found = f"this slice is {steps[worst]:.2f} mm beside the line through the others (a tilted gantry?)"
        raise InputError(ordered[worst + 1].path, found, "give a series without tilt, reconstructed upright")
    if total > STEP_TOLERANCE_SHARE * float(along[-1] - along[0]) + STEP_TOLERANCE_MM:
        found = f"slices drift aside by {total:.2f} mm over the series (a tilted gantry?)"
        raise InputError(ordered[-1].path, found, "give a series without tilt, reconstructed upright")


def _check_steps(ordered: Sequence[Header], along: NDArray) -> tuple[str, ...]:
    steps = np.diff(along)
    usual = float(np.median(steps))
    tolerance = STEP_TOLERANCE_MM + STEP_TOLERANCE_SHARE * usual
    worst = int(np.argmax(np.abs(steps - usual)))
    off = abs(float(steps[worst]) - usual)
    if off > tolerance:
        lacking = round(float(steps[worst]) / usual) - 1
        reason = f"{lacking} slice{'s' * (lacking > 1)} missing" if lacking > 0 else "slices too close"
        found = (
            f"a gap of {steps[worst]:.3f} mm before this slice ({_at(ordered[worst + 1])}) and after "
            f"{ordered[worst].path.name} ({_at(ordered[worst])}); the others lie {usual:.3f} mm apart: {reason}"
        )
        raise InputError(ordered[worst + 1].path, found, _EXPORT)
    even = along[0] + np.arange(len(along)) * (along[-1] - along[0]) / (len(along) - 1)
    drift = np.abs(along - even)
    if drift.max() > DRIFT_TOLERANCE_STEPS * usual:
        worst = int(np.argmax(drift))
        found = f"this slice is {drift[worst]:.2f} mm from where equal steps would put it"
        raise InputError(ordered[worst].path, found, _EXPORT)
    if off > SPACING_TOLERANCE_MM:
        said = f"slice steps of {steps.min():.3f} to {steps.max():.3f} mm taken as {steps.mean():.3f} mm each"
        return (f"{said} (slices {drift.max():.3f} mm off at most)",)
    return ()


def _at(header: Header) -> str:
    x, y, z = header.numbers("ImagePositionPatient")
    return f"{tag_of('ImagePositionPatient').split(' ')[0]} {x:g}, {y:g}, {z:g}"
