"""Pictures of a result: both tracers' projections with the masks, or their agreement with the truth, outlined."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.resampling import resample
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume

if TYPE_CHECKING:
    from PIL import Image

#: What a picture of the phantom's patient begins with.
SYNTHETIC = "SYNTHETIC PATIENT, "
#: Size of a picture's pixel, mm.
PIXEL_MM = 2.0
#: SUV that is black, in units of the tracer's threshold.
BLACK_AT_THRESHOLDS = {Tracer.PSMA: 4.0, Tracer.FDG: 3.0}
Colour = tuple[int, int, int]
RED: Colour = (214, 39, 40)
_BLUE: Colour = (31, 119, 180)
#: The report's figure 1: what both call disease, what only the truth does, what only the mask does.
_GREEN, _CYAN, _MAGENTA = (20, 160, 40), (0, 185, 215), (225, 0, 200)
_HEADER_PX, _GAP_PX = 44, 16


def kind_of_patient(folder: Path) -> str:
    """What a picture of a case must say on its face, for it travels alone: that the phantom made the patient."""
    cards = [place / "patient.json" for place in (folder, folder.resolve().parent)]
    return SYNTHETIC if any(card.exists() for card in cards) else ""


def kind_of_cohort(folders: Sequence[Path]) -> str:
    """Whether a cohort is "synthetic", every patient of it made by the phantom, or "real"."""
    return "synthetic" if all(kind_of_patient(folder) for folder in folders) else "real"


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
    panels = []
    for tracer in (each for each in Tracer if each in pets):
        outlines = [
            (mask, colour) for mask, colour in (((truths or {}).get(tracer), _BLUE), (masks[tracer], RED)) if mask
        ]
        image = projection(pets[tracer], outlines, BLACK_AT_THRESHOLDS[tracer] * thresholds[tracer])
        volume_ml = float(masks[tracer].voxels.sum()) * masks[tracer].geometry.voxel_volume_ml
        panels.append((f"{tracer.upper()}: {volume_ml:.1f} ml in the mask (SUV >= {thresholds[tracer]:.2f})", image))
    return _side_by_side(panels, note)


def agreement(
    pets: Mapping[Tracer, Volume],
    masks: Mapping[Tracer, Volume],
    truths: Mapping[Tracer, Volume],
    thresholds: Mapping[Tracer, float],
    note: str = "",
) -> bytes:
    """Projections with true positives in green, false negatives in cyan, false positives in magenta.

    As in figure 1 of the CDS report.

    Parameters
    ----------
    pets, thresholds, note
        As in `overview`.
    masks, truths
        0/1 on the PETs' grids.

    Returns
    -------
    bytes
        A PNG.
    """
    panels = []
    for tracer in (each for each in Tracer if each in pets):
        found, true = masks[tracer].voxels > 0, truths[tracer].voxels > 0
        grid = pets[tracer].geometry
        outlines = [
            (Volume(voxels.astype(np.uint8), grid), colour)
            for voxels, colour in ((found & true, _GREEN), (true & ~found, _CYAN), (found & ~true, _MAGENTA))
        ]
        image = projection(pets[tracer], outlines, BLACK_AT_THRESHOLDS[tracer] * thresholds[tracer])
        ml = [float(mask.voxels.sum()) * grid.voxel_volume_ml for mask, _ in outlines]
        panels.append((f"{tracer.upper()}: true {ml[0]:.1f}, missed {ml[1]:.1f}, false {ml[2]:.1f} ml", image))
    return _side_by_side(panels, note)


def _side_by_side(panels: Sequence[tuple[str, Image.Image]], note: str) -> bytes:
    from PIL import Image, ImageDraw

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
    pet: Volume, outlines: Sequence[tuple[Volume, Colour]], black_suv: float, pixel_mm: float = PIXEL_MM
) -> Image.Image:
    """Coronal maximum-intensity projection, head up, with masks outlined.

    Parameters
    ----------
    pet
        SUV.
    outlines
        0/1 masks and the colours of their outlines; later ones lie above.
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
    for mask, colour in outlines:
        flat = Image.fromarray((_projected(mask) > 0).astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
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
