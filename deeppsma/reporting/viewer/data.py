"""What the viewer's script is told beside the images: foci, their voxels and figures, as JSON values."""

from __future__ import annotations

from typing import Any

import numpy as np

from deeppsma.core.tracer import Tracer
from deeppsma.reporting.content import ReportContent
from deeppsma.reporting.figures import BLACK_SUV, class_letter
from deeppsma.reporting.review import CANDIDATE_OFFSET
from deeppsma.reporting.tables import REVIEW_FORMAT
from deeppsma.reporting.viewer.volumes import CT_LEVELS, SUV_STEP, ViewerVolumes


def viewer_data(content: ReportContent, volumes: ViewerVolumes) -> dict[str, Any]:
    """All that the script needs to find, colour and sum foci.

    Parameters
    ----------
    content
        What the report says.
    volumes
        On whose grid voxels are counted.
    """
    grid = volumes.geometry
    home = content.result.tracers[0]

    def voxel(tracer: Tracer, point: tuple[float, float, float]) -> list[int]:
        world = np.array([point])
        if tracer is not home:
            world = content.result.transform(tracer).apply(world)
        index = np.rint(grid.world_to_index(world))[0]
        return [int(min(max(i, 0), n - 1)) for i, n in zip(index, grid.shape_zyx, strict=True)]

    candidates: list[dict[str, Any]] = []
    for tracer in content.result.tracers:
        mine = [c for c in content.review.candidates if c.tracer is tracer]
        candidates += [
            {
                "id": c.id,
                "tracer": tracer.value,
                "number": CANDIDATE_OFFSET + number,
                "voxel": voxel(tracer, c.hottest_xyz_mm),
                "ml": round(c.volume_ml, 4),
                "g": round(c.volume_ml * c.suv_mean, 4),
                "max": round(c.suv_max, 3),
                "class": "x",
                "text": f"not called disease, near {c.naming.first.text}",
            }
            for number, c in enumerate(mine, start=1)
        ]
    return {
        "grid": {"shape": list(grid.shape_zyx), "spacing_mm": grid.spacing_zyx[0]},
        "suv_step": SUV_STEP,
        "ct_levels": CT_LEVELS,
        "candidate_offset": CANDIDATE_OFFSET,
        "tracers": [
            {
                "key": t.value,
                "name": t.upper(),
                "black": BLACK_SUV[t],
                "threshold": round(content.result.scans[t].threshold_suv, 3),
            }
            for t in content.result.tracers
        ],
        "lesions": [
            {
                "id": lesion.id,
                "tracer": lesion.tracer.value,
                "number": lesion.number,
                "voxel": voxel(lesion.tracer, lesion.hottest_xyz_mm),
                "ml": round(lesion.volume_ml, 4),
                "g": round(lesion.total_uptake_g, 4),
                "max": round(lesion.suv_max, 3),
                "class": class_letter(content, lesion.id),
                "text": lesion.naming.first.text,
            }
            for lesion in content.table.lesions
        ],
        "candidates": candidates,
        "review": {
            "format": REVIEW_FORMAT,
            "case": content.result.name,
            "masks_sha256": {t.value: content.result.scans[t].mask_sha256 for t in content.result.tracers},
        },
    }
