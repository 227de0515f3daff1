"""A cohort's masks as a BIDS derivative.

Source: https://bids-specification.readthedocs.io (derivatives; PET entities). BIDS has no rule for masks of PET yet:
``.bidsignore`` names them, so that a validator passes the data set.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deeppsma._version import __version__
from deeppsma.core.errors import ConfigurationError, OutputError
from deeppsma.core.settings import write_json
from deeppsma.core.tracer import Tracer
from deeppsma.io.image_files import ImageFile, write_image
from deeppsma.io.result_folder import mask_path
from deeppsma.models.weights import NOTICE
from deeppsma.operation.cohort.ledger import Ledger, Outcome
from deeppsma.operation.cohort.tables import CaseLine, case_lines, cell

BIDS_VERSION = "1.10.0"
_README = f"""Masks of disease on PSMA PET and FDG PET, found by deeppsma {__version__}. {NOTICE}

sub-LABEL/pet/sub-LABEL_trc-{{PSMA,FDG}}_desc-lesion_mask.nii.gz: 0 and 1, on the grid of the PET.
participants.tsv says which case of the cohort a label is. Cases that were not done are not here.
"""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Parameters
    ----------
    folder
        The derivative.
    subjects, masks
        How many.
    """

    folder: Path
    subjects: int
    masks: int


def export_bids(out: Path, folder: Path) -> Exported:
    """Write the masks of all cases that are done.

    Parameters
    ----------
    out
        A cohort's results.
    folder
        The derivative; it is not there yet, and appears when it is whole.

    Raises
    ------
    InputError
        If no cohort was run there, or a mask cannot be read.
    ConfigurationError
        If two cases get the same label.
    OutputError
        If the folder is there, or cannot be written.
    """
    if folder.exists():
        raise OutputError(folder, "is there already", "give a new folder")
    done = [line for line in case_lines(Ledger(out)) if line.outcome is Outcome.DONE]
    subjects = _labelled(done)
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _describe(partial, subjects)
        masks = sum(_subject(partial, label, line, Ledger(out)) for label, line in subjects.items())
        partial.rename(folder)
    except (OSError, RuntimeError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        found = f"cannot be written ({' '.join(str(error).split())})"
        raise OutputError(folder, found, "check the folder's free space and rights") from None
    return Exported(folder, len(subjects), masks)


def label(name: str) -> str:
    """Label of a case: letters and digits are what BIDS takes."""
    return re.sub(r"[^A-Za-z0-9]", "", name)


def _labelled(lines: list[CaseLine]) -> dict[str, CaseLine]:
    subjects: dict[str, CaseLine] = {}
    for line in lines:
        own = label(line.name)
        if not own or own in subjects:
            found = f"its label would be {own!r}" + (f", as that of {subjects[own].name}" if own else "")
            raise ConfigurationError(line.name, found, "rename the case's folder, and run it under that name")
        subjects[own] = line
    return subjects


def _describe(folder: Path, subjects: dict[str, CaseLine]) -> None:
    description = {
        "Name": "deeppsma: masks of disease",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "deeppsma", "Version": __version__, "Description": NOTICE}],
    }
    write_json(folder / "dataset_description.json", description)
    (folder / "README").write_text(_README, encoding="utf-8")
    (folder / ".bidsignore").write_text("*_mask.nii.gz\n*_mask.json\n", encoding="utf-8")
    rows = [f"sub-{own}\t{cell(line.name)!s}\n" for own, line in subjects.items()]
    (folder / "participants.tsv").write_text("".join(["participant_id\tcase\n", *rows]), encoding="utf-8")
    write_json(folder / "participants.json", {"case": {"Description": "Name of the case in the cohort"}})


def _subject(folder: Path, own: str, line: CaseLine, ledger: Ledger) -> int:
    place = folder / f"sub-{own}/pet"
    place.mkdir(parents=True)
    masks = 0
    for tracer in Tracer:
        stored = mask_path(ledger.slot(line.name), tracer)
        if not stored.is_file():  # one tracer alone was given
            continue
        stem = f"sub-{own}_trc-{tracer.upper()}_desc-lesion_mask"
        write_image(ImageFile(stored).read(), place / f"{stem}.nii.gz")
        write_json(place / f"{stem}.json", _sidecar(tracer, line))
        masks += 1
    return masks


def _sidecar(tracer: Tracer, line: CaseLine) -> dict[str, Any]:
    report, record = line.report, line.record
    return {
        "Type": "Lesion",
        "Description": f"Disease on {tracer.upper()} PET. {report.get('notice', NOTICE)}",
        "RawSources": [],
        "ThresholdSUV": line.figure(tracer, "threshold_suv"),
        "VolumeML": line.figure(tracer, "volume_ml"),
        "Components": line.figure(tracer, "components"),
        "Recipe": (report.get("recipe") or {}).get("name"),
        "WeightsSHA256": [member.get("sha256") for member in report.get("members", ())],
        "InputsSHA256": record.content if record is not None else "",
        "Fallbacks": list(report.get("fallbacks", ())),
    }
