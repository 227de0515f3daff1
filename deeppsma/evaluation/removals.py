"""What refinement took away, rightly and wrongly."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.components import components_of
from deeppsma.core.tracer import Tracer
from deeppsma.pipeline.apply_recipe import CropMasks

_COLUMNS = ("centre_xyz_mm", "volume_ml", "suv_max", "organ_labels", "psma_at_the_same_place", "score")


@dataclass(frozen=True)
class Removal:
    """A lesion that refinement took away.

    Parameters
    ----------
    said
        Its line in the run report.
    disease_ml
        How much of it is disease; 0 if it went rightly.
    """

    said: Mapping[str, Any]
    disease_ml: float


def find_removals(found: CropMasks, truth: NDArray[np.bool_], voxel_ml: float) -> list[Removal]:
    """Lesions that went, beside the truth.

    Parameters
    ----------
    found
        By a recipe; one that does not refine took nothing away.
    truth
        FDG disease on the crop of its space, [z, y, x].
    voxel_ml
        Volume of a voxel.
    """
    if found.unrefined is None:
        return []
    # Whole lesions go: what is left of them in the difference are the same components, in the same order.
    gone, count = components_of(found.unrefined & ~found.masks[Tracer.FDG])
    disease = np.bincount(gone[truth], minlength=count + 1)[1:]
    return [Removal(said, float(n) * voxel_ml) for said, n in zip(found.removed, disease, strict=True)]


def removals_table(removals: Mapping[str, Sequence[Sequence[Removal]]]) -> str:
    """Markdown: by method, over all cases, how many lesions went rightly and wrongly, and their volumes."""
    lines = [
        "| method | lesions taken away | rightly | ml | wrongly | ml | of it disease, ml |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for method, by_case in removals.items():
        every = [each for case in by_case for each in case]
        right = [each.said["volume_ml"] for each in every if not each.disease_ml]
        wrong = [each.said["volume_ml"] for each in every if each.disease_ml]
        disease = sum(each.disease_ml for each in every)
        cells = f"{len(every)} | {len(right)} | {sum(right):.1f} | {len(wrong)} | {sum(wrong):.1f} | {disease:.1f}"
        lines.append(f"| {method} | {cells} |")
    return "\n".join(lines)


def removals_csv(removals: Mapping[str, Sequence[Sequence[Removal]]], cases: Sequence[str]) -> str:
    """CSV: a row per lesion that went."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["method", "case", *_COLUMNS, "disease_ml"])
    for method, by_case in removals.items():
        for case, each in zip(cases, by_case, strict=True):
            for removal in each:
                cells = [_cell(removal.said[column]) for column in _COLUMNS]
                writer.writerow([method, case, *cells, f"{removal.disease_ml:.6g}"])
    return out.getvalue()


def _cell(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else value
