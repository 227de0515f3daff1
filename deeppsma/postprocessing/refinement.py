"""Refine FDG lesions by PSMA: a lesion that PSMA does not support must be large, hot, or outside organs to stay.

PaIRe report, section 4.3.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeppsma.postprocessing.lesion_classifier import LesionClassifier
from deeppsma.postprocessing.lesions import Lesion, Scene, find_lesions


def refine(scene: Scene, model: LesionClassifier) -> tuple[NDArray[np.bool_], list[dict[str, Any]]]:
    """FDG mask without the lesions that the model does not support.

    Returns
    -------
    mask, removed
        The mask, [z, y, x]; a line for the run report per lesion that went.
    """
    components, lesions = find_lesions(scene, model.match, model.radius_mm)
    removed = [lesion for lesion in lesions if not model.verdict(lesion)]
    mask = scene.fdg.voxels.astype(bool) & ~np.isin(components, [lesion.number for lesion in removed])
    return mask, [_said(lesion, model) for lesion in removed]


def _said(lesion: Lesion, model: LesionClassifier) -> dict[str, Any]:
    return {
        "centre_xyz_mm": [round(value, 1) for value in lesion.centre_xyz_mm],
        "volume_ml": round(lesion.volume_ml, 3),
        "suv_max": round(lesion.suv_max, 3),
        "organ_labels": list(lesion.labels),
        "psma_at_the_same_place": lesion.psma,
        "score": round(model.score(lesion), 4),
    }
