"""A physician's review, saved by the page, made into reviewed masks."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.errors import InputError
from deeppsma.core.settings import read_json
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.io.dicom.study import DicomPatient
from deeppsma.io.image_files import ImageFile
from deeppsma.io.result_folder import DICOM_FOLDER, REPORT_NAME, mask_path, output_folder, write_result
from deeppsma.reporting.lesion_table import LETTERS
from deeppsma.reporting.report_files import FOCI_NAME, read_report_json
from deeppsma.reporting.review import CANDIDATE_OFFSET, is_kept
from deeppsma.reporting.reviewed_dicom import write_reviewed
from deeppsma.reporting.tables import REVIEW_FORMAT

DECISIONS = ("confirm", "reject", "unsure")
REVIEWED_FOLDER = "reviewed"
_MAKE_AGAIN = "open this result's report.html, decide there, and save the review again"


@dataclass(frozen=True)
class SavedReview:
    """What a reviewer decided.

    Parameters
    ----------
    reviewer
        As typed in the page; may be empty.
    decided_at
        As the page wrote it.
    masks_sha256
        Of the masks that were looked at, by tracer.
    decisions
        "confirm", "reject" or "unsure" by lesion (P1, F2) or possible miss (PX1).
    """

    reviewer: str
    decided_at: str
    masks_sha256: dict[str, str]
    decisions: dict[str, str]


def read_review(path: Path) -> SavedReview:
    """A review as the page saves it.

    Raises
    ------
    InputError
        If it is none.
    """
    content = read_json(path, _MAKE_AGAIN)
    if not isinstance(content, dict) or content.get("format") != REVIEW_FORMAT:
        raise InputError(path, f"no review of format {REVIEW_FORMAT}", _MAKE_AGAIN)
    decisions, masks = content.get("decisions"), content.get("masks_sha256")
    if not isinstance(decisions, dict) or not isinstance(masks, dict):
        raise InputError(path, "a review without decisions or without the masks it is about", _MAKE_AGAIN)
    for key, decision in decisions.items():
        if decision not in DECISIONS:
            raise InputError(
                path, f"{str(decision)[:40]!r} for {str(key)[:20]}", f"decide one of {', '.join(DECISIONS)}"
            )
    return SavedReview(str(content.get("reviewer", "")), str(content.get("decided_at", "")), masks, decisions)


def apply_review(
    out: Path, review_path: Path, dicom: DicomPatient | None = None, pseudonymize: bool = False
) -> list[Path]:
    """Write reviewed masks to ``OUT/reviewed``; the result itself stays as it is.

    A rejected lesion's voxels leave the mask; a confirmed possible miss joins it; all else stays.

    Parameters
    ----------
    out
        A result's folder with its report.
    review_path
        Saved by that report's page.
    dicom
        The DICOM series that the result is of: SEG, RTSTRUCT and SR of the reviewed lesions are written, too.
    pseudonymize
        Whether those replace the patient's and the studies' identity.

    Returns
    -------
    list of Path
        What was written: masks and a run report with who decided what.

    Raises
    ------
    InputError
        If the review is about other masks, or names a lesion that is not there.
    """
    review = read_review(review_path)
    report = read_report_json(out)
    run_report = read_json(out / REPORT_NAME, "segment the case again")
    stored = _stored_foci(out / FOCI_NAME)
    known = {row["id"] for key in ("lesions", "possible_misses") for row in report[key]}
    if unknown := sorted(set(review.decisions) - known):
        raise InputError(review_path, f"decides on {unknown[0]}, which this report does not have", _MAKE_AGAIN)
    masks: dict[Tracer, Volume] = {}
    changes: dict[str, Any] = {}
    for tracer in Tracer:
        path = mask_path(out, tracer)
        if not path.is_file():
            continue
        mask = ImageFile(path).read()
        found = hashlib.sha256(np.packbits(mask.voxels > 0).tobytes()).hexdigest()
        if review.masks_sha256.get(tracer.value) != found:
            raise InputError(review_path, f"is about another {tracer.upper()} mask than {path}", _MAKE_AGAIN)
        voxels, numbers = stored[tracer]
        reviewed = reviewed_mask(mask.voxels, voxels, numbers, tracer, review.decisions)
        masks[tracer] = Volume(reviewed, mask.geometry)
        ml = mask.geometry.voxel_volume_ml
        changes[tracer.value] = {
            "volume_ml_before": round(float((mask.voxels > 0).sum()) * ml, 4),
            "volume_ml_after": round(float(reviewed.sum()) * ml, 4),
        }
    record = {
        "reviewer": review.reviewer,
        "decided_at": review.decided_at,
        "decisions": dict(sorted(review.decisions.items())),
        "masks_sha256_before": review.masks_sha256,
        "changes": changes,
    }
    target = out / REVIEWED_FOLDER
    with output_folder(target) as staging:
        if dicom is not None:
            place = staging / DICOM_FOLDER
            write_reviewed(place, dicom, stored, review.decisions, report, run_report, pseudonymize)
        return write_result(staging, target, masks, {**run_report, "review": record})


def reviewed_mask(
    mask: NDArray, voxels: NDArray[np.int64], numbers: NDArray[np.uint16], tracer: Tracer, decisions: dict[str, str]
) -> NDArray[np.uint8]:
    """A mask after a review.

    Parameters
    ----------
    mask
        [z, y, x], 0 or not.
    voxels, numbers
        Flat indices of the lesions' and possible misses' voxels, and whose each is.
    tracer
        Whose mask.
    decisions
        By id.
    """
    letter = LETTERS[tracer]
    out = (mask > 0).astype(np.uint8)
    flat = out.reshape(-1)
    for key, decision in decisions.items():
        if not key.startswith(letter):
            continue
        missed = key.startswith(f"{letter}X")
        number = int(key[2:]) + CANDIDATE_OFFSET if missed else int(key[1:])
        if is_kept(missed, decision) == missed:  # all else stays as it is
            flat[voxels[numbers == number]] = int(missed)
    return out


def _stored_foci(path: Path) -> dict[Tracer, tuple[NDArray[np.int64], NDArray[np.uint16]]]:
    remedy = "make the report again: deeppsma report OUT CASE"
    if not path.is_file():
        raise InputError(path, "no such file", remedy)
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {
                tracer: (stored[f"{tracer}_voxels"], stored[f"{tracer}_numbers"])
                for tracer in Tracer
                if f"{tracer}_voxels" in stored
            }
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise InputError(path, f"not readable ({error})", remedy) from None
