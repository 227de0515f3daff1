"""Masks out: both or none, on the exact grid, read back before they count."""

from __future__ import annotations

import csv
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from deeppsma.core.defaults import DICOM_KINDS, PROBABILITY_SUFFIXES
from deeppsma.core.errors import InputError, OutputError
from deeppsma.core.interruption import state_outcome, undone_at_end, uninterrupted
from deeppsma.core.memory import raise_if_short
from deeppsma.core.settings import write_json
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.io.image_files import ImageFile, check_name, is_image, write_image
from deeppsma.io.publishing import (
    STAGING_PREFIX,
    clear_remains,
    is_unfinished,
    lock_problem,
    locked,
    publish,
    remove_empty,
)

REPORT_NAME = "run_report.json"
PICTURE_NAME = "overview.png"
#: Folder of DICOM objects, beside ``images``; `dicom_path` names them.
DICOM_FOLDER = "dicom"
#: What `deeppsma.reporting.report_files` writes beside a result; it goes when the result goes.
READING_NAMES = ("report.html", "report.pdf", "lesions.csv", "report_foci.npz", "report.json")
#: Holds the path of the case that was segmented; `deeppsma.cli` writes it, for a report that is made later.
CASE_NAME = "case.txt"
_NOT_OURS = "move it away, or give another folder"
_NOTHING_WRITTEN = "no result was written"


def mask_path(out: Path, tracer: Tracer) -> Path:
    """Where a tracer's mask goes: the platform's output sockets."""
    return out / "images" / f"{tracer}-pet-ttb" / f"{tracer}-pet-ttb.mha"


def dicom_path(out: Path, tracer: Tracer, kind: str) -> Path:
    """Where a tracer's DICOM object of a kind goes."""
    return out / DICOM_FOLDER / str(tracer) / f"{kind}.dcm"


def _dicom_paths(out: Path) -> list[Path]:
    return [dicom_path(out, tracer, kind) for tracer in Tracer for kind in DICOM_KINDS]


def probability_name(tracer: Tracer, suffix: str) -> str:
    """File of a tracer's probabilities, beside ``images``: the platform takes masks alone there."""
    return f"{tracer}-probability{suffix}"


def write_beside(volume: Volume, path: Path) -> None:
    """Write an image into a staging folder, to be published with the masks.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    try:
        write_image(volume, path)
    except RuntimeError as error:
        raise_if_short(error)
        raise OutputError(path, "cannot be written", "check the folder's free space and rights") from None


def write_table(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write rows of plain values as CSV into a staging folder; columns are those of all rows, in their order.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise OutputError(path, f"cannot be written ({error.strerror})", "check the folder's free space") from None


def finished_mask(out: Path, tracer: Tracer) -> Path:
    """`mask_path`, for those who read it.

    Raises
    ------
    InputError
        If it was left by a run that was killed while it published: its
        companion may be missing, or of another run.
    """
    path = mask_path(out, tracer)
    if is_unfinished(out, path):
        raise InputError(path, "was left by a run that did not end", "segment the case again")
    return path


def remember_case(out: Path, case: Path) -> None:
    """Write down where the case of a result lies. Where that fails, `remembered_case` says so."""
    with suppress(OSError, UnicodeError):
        (out / CASE_NAME).write_text(f"{case.resolve()}\n", encoding="utf-8")


def remembered_case(out: Path) -> Path:
    """Where the case of a result lies.

    Raises
    ------
    InputError
        If that is not known, or it is no longer there.
    """
    path = out / CASE_NAME
    remedy = f"name it: deeppsma report {out} CASE"
    try:
        case = Path(path.read_text(encoding="utf-8").strip())
    except (OSError, UnicodeError):
        found = "does not say which case this result was made from (never for DICOM, in the container or from Python)"
        raise InputError(path, found, remedy) from None
    if not case.is_dir():
        raise InputError(path, f"names {case}, which is no longer there", remedy)
    return case


@contextmanager
def output_folder(out: Path) -> Iterator[Path]:
    """A staging folder inside the output folder; gone when the block ends.

    The folder is locked for as long: another run waits for a short time, then
    it is refused. What a killed run left is cleared. An earlier result of
    ours is removed at once: if this run fails, no mask of another run is left
    standing as its own. Files that are not ours are refused, not removed.

    Parameters
    ----------
    out
        The output folder; made if it is not there, and removed again if the
        block leaves it empty.

    Raises
    ------
    OutputError
        If ``out`` cannot be written to, holds what is not ours where a result
        goes, or another run writes there.
    """
    check_name(out, OutputError)
    made = not out.exists()
    staging: list[Path] = []

    def undo() -> None:
        for place in staging:
            shutil.rmtree(place, ignore_errors=True)
        with suppress(OSError):
            if made and not any(out.iterdir()):
                out.rmdir()

    state_outcome(_NOTHING_WRITTEN)
    with undone_at_end(undo):
        try:
            with _locked(out):
                try:
                    with uninterrupted():
                        _prepare(out)
                        staging.append(Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=out)))
                except OSError as error:
                    raise _cannot(out, error) from None
                yield staging[0]
                with uninterrupted():
                    undo()
        except BaseException:
            with uninterrupted():
                undo()
            raise


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """`locked`, with its own refusals in one line, and nobody else's."""
    lock = locked(out)
    try:
        lock.__enter__()
    except OSError as error:
        raise _cannot(out, error) from None
    try:
        yield
    finally:
        lock.__exit__(None, None, None)


def write_result(
    staging: Path, out: Path, masks: Mapping[Tracer, Volume], report: dict[str, Any], picture: bytes | None = None
) -> list[Path]:
    """Write masks and report; they appear in ``out`` together, after a check, or not at all.

    Parameters
    ----------
    staging, out
        From `output_folder`.
    masks
        0/1, uint8, on the grid of each tracer's PET.
    report
        The run report; told if the folder could not be locked.
    picture
        A PNG to put beside it.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    OutputError
        If something cannot be written, or does not read back as it was.
    """
    try:
        for tracer, mask in masks.items():
            path = mask_path(staging, tracer)
            path.parent.mkdir(parents=True)
            write_image(mask, path)
            _check(path, mask)
        if problem := lock_problem(out):
            note = f"the output folder cannot be locked ({problem}); no other run may write there"
            report = {**report, "fallbacks": [*report.get("fallbacks", []), note]}
        write_json(staging / REPORT_NAME, report)
        if picture is not None:
            (staging / PICTURE_NAME).write_bytes(picture)
        with uninterrupted():
            written = publish(staging, out, REPORT_NAME)
            state_outcome(f"the result had been written before, to {out}")
    except (OSError, RuntimeError) as error:
        raise_if_short(error)
        reason = str(error).splitlines()[-1] if str(error) else type(error).__name__
        remedy = "check the folder's free space and rights"
        raise OutputError(out, f"the result could not be written ({reason})", remedy) from None
    return written


def _check(path: Path, mask: Volume) -> None:
    try:
        again = ImageFile(path).read()
    except InputError as error:
        remedy = "check the folder's free space and rights"
        raise OutputError(path, f"does not read back ({error.found})", remedy) from None
    if again.geometry != mask.geometry and not again.geometry.same_grid(mask.geometry):
        found = f"reads back on {again.geometry.describe()}, not {mask.geometry.describe()}"
        raise OutputError(path, found, "report this as a bug")
    if again.voxels.dtype != np.uint8 or not np.array_equal(again.voxels, mask.voxels):
        raise OutputError(path, "does not read back as it was written", "check the disk")


def _cannot(out: Path, error: OSError) -> OutputError:
    raise_if_short(error)
    return OutputError(out, f"cannot be written to ({error.strerror})", "give a folder that this user may write to")


def _prepare(out: Path) -> None:
    """Clear what killed runs left, refuse what is not ours, remove an earlier result."""
    folders = [mask_path(out, tracer).parent for tracer in Tracer]
    folders += [out / DICOM_FOLDER, *(dicom_path(out, tracer, "seg").parent for tracer in Tracer)]
    for place in (out / "images", *folders):
        if place.is_symlink():
            raise OutputError(place, "is a link to another folder", "give a folder of its own, without links in it")
        if place.exists() and not place.is_dir():
            raise OutputError(place, "is a file, where a folder must be", _NOT_OURS)
    clear_remains(out)
    ours = _holds_our_report(out)
    for tracer in Tracer:
        own = mask_path(out, tracer)
        there = [path for path in own.parent.iterdir() if is_image(path)] if own.parent.is_dir() else []
        others = [path.name for path in there if path != own or not ours]
        if others:
            raise OutputError(own.parent, f"holds {min(others)}, which no run of deeppsma wrote", _NOT_OURS)
    for path in (out / PICTURE_NAME, *_dicom_paths(out)):
        if path.exists() and not ours:
            raise OutputError(path, "was written by no run of deeppsma", _NOT_OURS)
    if ours:
        _remove_result(out)


def _holds_our_report(out: Path) -> bool:
    report = out / REPORT_NAME
    if not report.exists() and not report.is_symlink():
        return False
    try:
        if json.loads(report.read_text(encoding="utf-8"))["versions"]["deeppsma"]:
            return True
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        pass
    raise OutputError(report, "is no run report of deeppsma", _NOT_OURS)


def _remove_result(out: Path) -> None:
    """The report goes last: without it, masks are nobody's."""
    for tracer in Tracer:
        mask_path(out, tracer).unlink(missing_ok=True)
        remove_empty(mask_path(out, tracer).parent, out)
    for path in _dicom_paths(out):
        path.unlink(missing_ok=True)
        remove_empty(path.parent, out)
    probabilities = [probability_name(tracer, suffix) for tracer in Tracer for suffix in PROBABILITY_SUFFIXES]
    for name in (*probabilities, *READING_NAMES, PICTURE_NAME, CASE_NAME, REPORT_NAME):
        (out / name).unlink(missing_ok=True)
