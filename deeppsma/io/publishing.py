"""Files appear in a folder together: a lock, a staging folder beside the target, a journal, renames.

What is being written lies in ``OUT/.deeppsma-partial-*`` (inside the target,
because a mount point such as ``/output`` cannot be renamed). When all of it
is on the disk, a journal of it is written there, and everything is moved to
its place by renames, one file last: that one says that the rest is whole.
A run that is killed leaves its staging folder; by its journal the next run
knows which files in the target are remains of it.

Whoever writes holds a lock on the target's own descriptor, which the system
lets go of when the process ends, however it ends.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from deeppsma.core.errors import OutputError
from deeppsma.core.hashing import file_sha256
from deeppsma.core.interruption import uninterrupted

STAGING_PREFIX = ".deeppsma-partial-"
#: How long a run waits for another one that writes to the same folder.
LOCK_WAIT_S = 10.0
_JOURNAL = ".journal.json"
_LOCK_POLL_S = 0.1
#: What file systems without locks answer.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EINVAL)


@contextmanager
def locked(folder: Path, wait_s: float | None = None) -> Iterator[None]:
    """Hold a folder for writing; it is there, or made.

    Parameters
    ----------
    folder
        Whose lock is held while the block runs.
    wait_s
        How long to wait for another holder; `LOCK_WAIT_S` unless told.

    Raises
    ------
    OutputError
        If another run holds it for longer.
    OSError
        If it cannot be made or opened.
    """
    limit = time.monotonic() + (LOCK_WAIT_S if wait_s is None else wait_s)
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            held = _try_lock(descriptor)
            # Whoever held it may have removed the folder that he had made.
            if held and _is_same(folder, descriptor):
                yield
                return
        finally:
            os.close(descriptor)
        if not held:
            if time.monotonic() > limit:
                remedy = "wait until it has ended, or give another folder"
                raise OutputError(folder, "another run is writing there", remedy)
            time.sleep(_LOCK_POLL_S)


def lock_problem(folder: Path) -> str | None:
    """Why a folder cannot be locked, for the run report; None if it can."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.strerror if error.errno in _NO_LOCKS else None
    finally:
        os.close(descriptor)
    return None


def clear_remains(folder: Path) -> None:
    """Remove what killed runs left in a folder whose lock is held: staging folders, and what they had moved.

    Raises
    ------
    OSError
        If something cannot be removed.
    """
    for staging in sorted(folder.glob(f"{STAGING_PREFIX}*")):
        if staging.is_symlink() or not staging.is_dir():
            continue
        for path in unfinished(folder, staging):
            path.unlink()
            remove_empty(path.parent, folder)
        shutil.rmtree(staging)


def unfinished(folder: Path, staging: Path) -> list[Path]:
    """Files in ``folder`` that a run with this staging folder had moved when it was killed."""
    try:
        journal = dict(json.loads((staging / _JOURNAL).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return []
    there = [folder / name for name, sha256 in journal.items() if _is_file(folder / name, str(sha256))]
    return [] if len(there) == len(journal) else there  # killed after the last one: nothing is missing


def is_unfinished(folder: Path, path: Path) -> bool:
    """Whether a file of a folder belongs to a result that was never completed; for readers."""
    return any(path in unfinished(folder, staging) for staging in folder.glob(f"{STAGING_PREFIX}*"))


def publish(staging: Path, folder: Path, last: str) -> list[Path]:
    """Move all files of a staging folder to their places; where something fails, none stays.

    Parameters
    ----------
    staging
        Holds the files as they are to lie in ``folder``.
    folder
        The target, its lock held.
    last
        Name of the file that says that all others are there.

    Returns
    -------
    list of Path
        Where they are now.

    Raises
    ------
    OSError
        If a file cannot be moved.
    """
    names = sorted(str(path.relative_to(staging)) for path in staging.rglob("*") if path.is_file())
    names.sort(key=last.__eq__)
    for name in names:
        _sync(staging / name)
    journal = {name: file_sha256(staging / name) for name in names}
    (staging / _JOURNAL).write_text(json.dumps(journal), encoding="utf-8")
    _sync(staging / _JOURNAL)
    moved: list[Path] = []
    with uninterrupted():
        try:
            for name in names:
                _move(staging, folder, name, moved)
            for place in {path.parent for path in moved} | {folder}:
                _sync(place)
        except BaseException:
            for path in moved:
                with suppress(OSError):
                    path.unlink(missing_ok=True)
                    remove_empty(path.parent, folder)
            raise
    return moved


def _move(staging: Path, folder: Path, name: str, moved: list[Path]) -> None:
    """Move a file; with it, in one rename, the topmost folder of it that is not yet in the target."""
    source, target = staging / name, folder / name
    if not source.exists():  # moved with its folder
        return
    for parent in reversed(target.relative_to(folder).parents[:-1]):
        place = folder / parent
        if not place.exists():
            inside = [path for path in (staging / parent).rglob("*") if path.is_file()]
            os.replace(staging / parent, place)
            moved += [folder / path.relative_to(staging) for path in inside]
            return
    os.replace(source, target)
    moved.append(target)


def remove_empty(place: Path, top: Path) -> None:
    """Remove a folder and those above it, up to ``top``, as far as they are empty."""
    while place != top and place.is_dir() and not place.is_symlink() and not any(place.iterdir()):
        place.rmdir()
        place = place.parent


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


def _is_same(folder: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(folder.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EROFS):  # some file systems cannot, of folders
            raise
    finally:
        os.close(descriptor)


def _is_file(path: Path, sha256: str) -> bool:
    try:
        return file_sha256(path) == sha256
    except OSError:
        return False
