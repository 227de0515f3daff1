"""A picture of a result: both tracers' projections with the masks outlined."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deeppsma.images import Volume
from deeppsma.resampling import resample
from deeppsma.tracer import Tracer

if TYPE_CHECKING:
    from PIL import Image

#: Size of a picture's pixel, mm.
PIXEL_MM = 2.0
#: SUV that is black, in units of the tracer's threshold.
BLACK_AT_THRESHOLDS = {Tracer.PSMA: 4.0, Tracer.FDG: 3.0}
_OUTLINE, _TRUTH_OUTLINE = (214, 39, 40), (31, 119, 180)
_HEADER_PX, _GAP_PX = 44, 16


def overview(
    pets: Mapping[Tracer, Volume],
    masks: Mapping[Tracer, Volume],
    thresholds: Mapping[Tracer, float],
    truths: Mapping[Tracer, Volume | None] | None = None,
    note: str = "",
) -> bytes:
    """Coronal maximum-intensity projections of both tracers, side by side.

    Parameters
    ----------
    pets
        SUV.
    masks
        Outlined in red.
    thresholds
        SUV by tracer; sets the grey scale.
    truths
        Outlined in blue, where given.
    note
        A line below the titles.

    Returns
    -------
    bytes
        A PNG.
    """
    from PIL import Image, ImageDraw

    panels = []
    for tracer in (Tracer.PSMA, Tracer.FDG):
        truth = (truths or {}).get(tracer)
        image = projection(pets[tracer], masks[tracer], BLACK_AT_THRESHOLDS[tracer] * thresholds[tracer], truth)
        volume_ml = float(masks[tracer].voxels.sum()) * masks[tracer].geometry.voxel_volume_ml
        panels.append((f"{tracer.upper()}: {volume_ml:.1f} ml in the mask (SUV >= {thresholds[tracer]:.2f})", image))
    width = max(sum(max(p.width, 300) for _, p in panels) + 3 * _GAP_PX, 640)
    canvas = Image.new("RGB", (width, max(p.height for _, p in panels) + _HEADER_PX + 2 * _GAP_PX), "white")
    draw = ImageDraw.Draw(canvas)
    x = _GAP_PX
    for title, image in panels:
        draw.text((x, 10), title, fill="black")
        canvas.paste(image, (x, _HEADER_PX))
        x += max(image.width, 300) + _GAP_PX
    draw.text((_GAP_PX, 26), note, fill=(110, 110, 110))
    out = io.BytesIO()
    canvas.save(out, "PNG")
    return out.getvalue()


def projection(
    pet: Volume, mask: Volume, black_suv: float, truth: Volume | None = None, pixel_mm: float = PIXEL_MM
) -> Image.Image:
    """Coronal maximum-intensity projection, head up; ``mask`` outlined in red, ``truth`` in blue.

    Parameters
    ----------
    pet, mask, truth
        SUV; 0/1.
    black_suv
        SUV that is black; 0 is white.
    pixel_mm
        Size of a pixel.
    """
    from PIL import Image

    grey = 255 - 255 * np.clip(_projected(pet) / black_suv, 0, 1)
    pixels = np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
    size = _pixels(pet, pixel_mm)
    image = Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR)
    drawn = np.array(image)
    for volume, colour in ((truth, _TRUTH_OUTLINE), (mask, _OUTLINE)):
        if volume is not None:
            flat = Image.fromarray((_projected(volume) > 0).astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
            drawn[_outline(np.asarray(flat) > 0)] = colour
    return Image.fromarray(drawn)


def _projected(volume: Volume) -> NDArray:
    """Maximum along the patient's front-to-back axis: rows from head to foot, columns from his right to left."""
    voxels = volume.voxels
    direction = volume.geometry.direction_matrix
    upright = np.array_equal(np.abs(direction).argmax(axis=1), [0, 1, 2]) and (direction.diagonal() > 0).all()
    if not upright:
        voxels = resample(volume, volume.geometry.axis_aligned(), labels=voxels.dtype == np.uint8)
    return np.asarray(voxels.max(axis=1)[::-1])


def _pixels(volume: Volume, pixel_mm: float) -> tuple[int, int]:
    z, _, x = (n * s / pixel_mm for n, s in zip(volume.geometry.shape_zyx, volume.geometry.spacing_zyx, strict=True))
    return max(round(x), 1), max(round(z), 1)


def _outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    from scipy.ndimage import binary_dilation

    return np.asarray(binary_dilation(mask, np.ones((3, 3))) & ~mask)
