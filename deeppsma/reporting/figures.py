"""Still pictures for paper, for browsers without script and for the PDF: numbered projections and thumbnails."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.tracer import Tracer
from deeppsma.reporting.concordance import Match
from deeppsma.reporting.content import ReportContent
from deeppsma.reporting.viewer.volumes import SUV_STEP, ViewerVolumes

if TYPE_CHECKING:
    from PIL import Image

Colour = tuple[int, int, int]
#: Okabe and Ito's colours, told apart by colour-blind eyes; a letter stands beside each.
CLASS_COLOURS: dict[str, Colour] = {"C": (0, 158, 115), "P": (0, 114, 178), "F": (213, 94, 0), "?": (117, 76, 110)}
CLASS_WORDS = {
    "C": "concordant: both tracers",
    "P": "PSMA only, or FDG below its threshold",
    "F": "FDG only, or PSMA below its threshold",
    "?": "not judged",
}
#: SUV that is black.
BLACK_SUV = {Tracer.PSMA: 10.0, Tracer.FDG: 7.0}
#: A number's width and height in a projection, pixels.
_NUMBER_PX = (22, 11)
_NUMBERED, _SCALE, _THUMB_PX, _THUMB_MM = 25, 2, 96, 90.0


def class_letter(content: ReportContent, lesion_id: str) -> str:
    """Class of a lesion: C concordant, P or F that tracer alone, ? not judged; with one tracer its letter."""
    own = "P" if content.table.by_id(lesion_id).tracer is Tracer.PSMA else "F"
    if content.concordance is None:
        return own
    match = content.concordance.counterparts[lesion_id].match
    if match is Match.CONCORDANT:
        return "C"
    return own if match in (Match.ONLY, Match.BELOW) else "?"


def projections(content: ReportContent, volumes: ViewerVolumes, tracer: Tracer) -> Image.Image:
    """Coronal and sagittal projection, outlined by class, the largest lesions numbered."""
    from PIL import Image, ImageDraw

    pet, labels = volumes.pet[tracer], volumes.labels[tracer]
    count = len(content.table.of(tracer))
    colours = np.zeros((count + 1, 3), np.uint8)
    for lesion in content.table.of(tracer):
        colours[lesion.number] = CLASS_COLOURS[class_letter(content, lesion.id)]
    panels = []
    for axis, sides in ((1, ("R", "L")), (2, ("A", "P"))):
        flat = pet.max(axis=axis)[::-1].astype(np.float32) * SUV_STEP
        grey = (255 - 255 * np.clip(flat / BLACK_SUV[tracer], 0, 1)).astype(np.uint8)
        seen = _nearest_label(labels, axis, count)[::-1]
        size = (seen.shape[1] * _SCALE, seen.shape[0] * _SCALE)
        image = np.array(Image.fromarray(grey).resize(size, Image.Resampling.BILINEAR))
        rgb = np.repeat(image[..., None], 3, axis=2)
        large = seen.repeat(_SCALE, 0).repeat(_SCALE, 1)
        edge = _edges(large)
        rgb[edge] = colours[large[edge]]
        picture = Image.fromarray(rgb)
        draw = ImageDraw.Draw(picture)
        draw.text((4, 4), sides[0], fill=(0, 0, 0))
        draw.text((size[0] - 12, 4), sides[1], fill=(0, 0, 0))
        placed: list[tuple[float, float]] = []
        for lesion in content.table.of(tracer)[:_NUMBERED]:
            where = np.argwhere(seen == lesion.number)
            if len(where):
                y, x = where.mean(axis=0) * _SCALE
                # The largest first; none on top of another.
                if any(abs(x - u) < _NUMBER_PX[0] and abs(y - v) < _NUMBER_PX[1] for u, v in placed):
                    continue
                placed.append((x, y))
                draw.text((x + 6, y - 12), lesion.id, fill=tuple(int(c) for c in colours[lesion.number]),
                          stroke_width=2, stroke_fill=(255, 255, 255))  # fmt: skip
        panels.append(picture)
    out = Image.new("RGB", (sum(p.width for p in panels) + 8, panels[0].height), "white")
    out.paste(panels[0], (0, 0))
    out.paste(panels[1], (panels[0].width + 8, 0))
    return out


def thumbnail(volumes: ViewerVolumes, tracer: Tracer, label: int) -> Image.Image | None:
    """Axial cut through a label's middle, outlined; None where the grid shows nothing of it."""
    from PIL import Image

    labels = volumes.labels[tracer]
    where = volumes.voxels_of(tracer, label)
    if not len(where):
        return None
    z, y, x = (round(float(v)) for v in np.median(where, axis=0))
    half = max(4, round(_THUMB_MM / 2 / volumes.geometry.spacing_zyx[0]))
    pet = np.pad(volumes.pet[tracer][z], half)[y : y + 2 * half + 1, x : x + 2 * half + 1].astype(np.float32) * SUV_STEP
    mine = np.pad(labels[z] == label, half)[y : y + 2 * half + 1, x : x + 2 * half + 1]
    grey = (255 - 255 * np.clip(pet / BLACK_SUV[tracer], 0, 1)).astype(np.uint8)
    image = np.array(Image.fromarray(grey).resize((_THUMB_PX, _THUMB_PX), Image.Resampling.BILINEAR))
    rgb = np.repeat(image[..., None], 3, axis=2)
    large = np.asarray(Image.fromarray(mine.astype(np.uint8)).resize((_THUMB_PX, _THUMB_PX), Image.Resampling.NEAREST))
    rgb[_edges(large)] = (200, 30, 30)
    return Image.fromarray(rgb)


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    """File content of a picture: "PNG" (few colours where it can) or "JPEG"."""
    out = io.BytesIO()
    if kind == "PNG":
        image.quantize(128).save(out, "PNG", optimize=True)
    else:
        image.save(out, kind, quality=88)
    return out.getvalue()


def _nearest_label(labels: NDArray[np.uint16], axis: int, count: int) -> NDArray[np.intp]:
    """Label of the first lesion met along an axis; possible misses are not drawn."""
    here = np.where(labels <= count, labels, 0)
    first = (here > 0).argmax(axis=axis)
    return np.asarray(np.take_along_axis(here, np.expand_dims(first, axis), axis).squeeze(axis)).astype(np.intp)


def _edges(labels: NDArray) -> NDArray[np.bool_]:
    """Labelled pixels with another label beside them."""
    padded = np.pad(labels, 1)
    inner = padded[1:-1, 1:-1]
    differs = np.zeros(inner.shape, bool)
    for rows, columns in ((slice(0, -2), slice(1, -1)), (slice(2, None), slice(1, -1)),
                          (slice(1, -1), slice(0, -2)), (slice(1, -1), slice(2, None))):  # fmt: skip
        differs |= padded[rows, columns] != inner
    return differs & (inner > 0)
