"""Masks out: both or none, on the exact grid, read back before they count."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from deeppsma.core.errors import OutputError
from deeppsma.core.settings import write_json
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.io.image_files import ImageFile, check_name, is_image, write_image

REPORT_NAME = "run_report.json"
PICTURE_NAME = "overview.png"
STAGING_PREFIX = ".deeppsma-partial-"


def mask_path(out: Path, tracer: Tracer) -> Path:
    """Where a tracer's mask goes: the platform's output sockets."""
    return out / "images" / f"{tracer}-pet-ttb" / f"{tracer}-pet-ttb.mha"


@contextmanager
def output_folder(out: Path) -> Iterator[Path]:
    """A staging folder inside the output folder; gone when the block ends.

    An earlier result in ``out`` is removed at once: if this run fails, no
    mask of another run is left standing as its own.

    Raises
    ------
    OutputError
        If ``out`` cannot be written to.
    """
    made = not out.exists()
    staging: Path | None = None
    try:
        check_name(out, OutputError)
        try:
            out.mkdir(parents=True, exist_ok=True)
            _refuse_other_files(out)
            # A name of its own: runs into one folder must not clear each other's.
            staging = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=out))
            _remove_result(out)
        except OSError as error:
            remedy = "give a folder that this user may write to"
            raise OutputError(out, f"cannot be written to ({error.strerror})", remedy) from None
        yield staging
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
        if made and out.is_dir() and not any(out.iterdir()):
            out.rmdir()


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
        The run report.
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
        write_json(staging / REPORT_NAME, report)
        if picture is not None:
            (staging / PICTURE_NAME).write_bytes(picture)
        return _publish(staging, out)
    except BaseException as error:
        # Whatever ends the run here, a time limit's signal too: one mask without the other must not stay.
        with suppress(OSError):
            _remove_result(out)
        if not isinstance(error, OSError | RuntimeError):
            raise
        reason = str(error).splitlines()[-1] if str(error) else type(error).__name__
        remedy = "check the folder's free space and rights"
        raise OutputError(out, f"the result could not be written ({reason})", remedy) from None


def _publish(staging: Path, out: Path) -> list[Path]:
    written = []
    for source in sorted(path for path in staging.rglob("*") if path.is_file()):
        target = out / source.relative_to(staging)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(source, target)
        written.append(target)
    return written


def _check(path: Path, mask: Volume) -> None:
    again = ImageFile(path).read()
    if again.geometry != mask.geometry and not again.geometry.same_grid(mask.geometry):
        found = f"reads back on {again.geometry.describe()}, not {mask.geometry.describe()}"
        raise OutputError(path, found, "report this as a bug")
    if again.voxels.dtype != np.uint8 or not np.array_equal(again.voxels, mask.voxels):
        raise OutputError(path, "does not read back as it was written", "check the disk")


def _refuse_other_files(out: Path) -> None:
    """Refuse what would be overwritten or counted as ours, and is not."""
    remedy = "move it away, or give another folder"
    for tracer in Tracer:
        folder, own = mask_path(out, tracer).parent, mask_path(out, tracer).name
        others = [p.name for p in folder.iterdir() if is_image(p) and p.name != own] if folder.is_dir() else []
        if others:
            raise OutputError(folder, f"holds {min(others)}, which no run of deeppsma wrote", remedy)
    report = out / REPORT_NAME
    ours = False
    if report.exists():
        try:
            ours = json.loads(report.read_text(encoding="utf-8"))["versions"]["deeppsma"] != ""
        except (OSError, ValueError, LookupError, TypeError):
            raise OutputError(report, "is no run report of deeppsma", remedy) from None
    if (out / PICTURE_NAME).exists() and not ours:
        raise OutputError(out / PICTURE_NAME, "was written by no run of deeppsma", remedy)


def _remove_result(out: Path) -> None:
    for tracer in Tracer:
        folder = mask_path(out, tracer).parent
        mask_path(out, tracer).unlink(missing_ok=True)
        for place in (folder, folder.parent):
            if place.is_dir() and not place.is_symlink() and not any(place.iterdir()):
                place.rmdir()
    for name in (REPORT_NAME, PICTURE_NAME):
        (out / name).unlink(missing_ok=True)
