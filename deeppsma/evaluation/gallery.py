"""A page of patients: both tracers' projections beside each other, disease outlined."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.io.cohort import load_labelled
from deeppsma.reporting.pictures import BLACK_AT_THRESHOLDS, RED, kind_of_patient, projection

_PER_ROW, _GAP_PX, _TITLE_PX = 5, 6, 16
_PIXEL_MM = 4.0
_PANEL_PX = (132, 285)


def gallery(folders: Sequence[Path]) -> bytes:
    """The page: per patient PSMA on the left, FDG on the right; truth in red.

    Parameters
    ----------
    folders
        Cases with truth, one or more.

    Returns
    -------
    bytes
        A PNG.
    """
    from PIL import Image, ImageDraw

    if not folders:
        raise ValueError("a page needs one patient or more")
    width, height = 2 * _PANEL_PX[0] + _GAP_PX, _PANEL_PX[1] + _TITLE_PX
    rows = -(-len(folders) // _PER_ROW)
    columns = min(len(folders), _PER_ROW)
    page = Image.new("RGB", (columns * (width + _GAP_PX), rows * (height + _GAP_PX)), "white")
    draw = ImageDraw.Draw(page)
    for number, folder in enumerate(folders):
        left, top = number % _PER_ROW * (width + _GAP_PX), number // _PER_ROW * (height + _GAP_PX)
        labelled = load_labelled(folder)
        volumes = []
        for place, tracer in enumerate((Tracer.PSMA, Tracer.FDG)):
            study = labelled.case.study(tracer)
            truth: Volume = labelled.truths[tracer].read()
            black = BLACK_AT_THRESHOLDS[tracer] * study.threshold_suv
            panel = projection(study.read_pet(), [(truth, RED)], black, _PIXEL_MM)
            volumes.append(f"{float((truth.voxels > 0).sum()) * truth.geometry.voxel_volume_ml:.0f}")
            # Centred from side to side; thighs are cut before heads.
            framed = Image.new("RGB", _PANEL_PX, "white")
            framed.paste(panel, ((_PANEL_PX[0] - panel.width) // 2, 0))
            page.paste(framed, (left + place * (_PANEL_PX[0] + _GAP_PX), top + _TITLE_PX))
        kind = "synthetic " if kind_of_patient(folder) else ""
        draw.text((left + 2, top + 2), f"{kind}{folder.name}: PSMA {volumes[0]} ml, FDG {volumes[1]} ml", fill="black")
    out = io.BytesIO()
    page.save(out, "PNG", optimize=True)
    return out.getvalue()
