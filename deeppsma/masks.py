"""Masks out: both or none, on the exact grid, read back before they count."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from deeppsma.errors import OutputError
from deeppsma.images import ImageFile, Volume, is_image, write_image
from deeppsma.tracer import Tracer

REPORT_NAME = "run_report.json"
PICTURE_NAME = "overview.png"
_STAGING_NAME = ".deeppsma-partial"


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
    staging = out / _STAGING_NAME
    try:
        out.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        _remove_result(out)
        _refuse_other_images(out)
    except OSError as error:
        remedy = "give a folder that this user may write to"
        raise OutputError(out, f"cannot be written to ({error.strerror})", remedy) from None
    except OutputError:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


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
        (staging / REPORT_NAME).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
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


def _refuse_other_images(out: Path) -> None:
    for tracer in Tracer:
        folder = mask_path(out, tracer).parent
        others = sorted(path.name for path in folder.iterdir() if is_image(path)) if folder.is_dir() else []
        if others:
            remedy = "move it away: exactly one image may lie there"
            raise OutputError(folder, f"holds {others[0]}, which no run of deeppsma wrote", remedy)


def _remove_result(out: Path) -> None:
    for tracer in Tracer:
        folder = mask_path(out, tracer).parent
        mask_path(out, tracer).unlink(missing_ok=True)
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    if (out / "images").is_dir() and not any((out / "images").iterdir()):
        (out / "images").rmdir()
    for name in (REPORT_NAME, PICTURE_NAME):
        (out / name).unlink(missing_ok=True)
