"""Images that have come, on the disk: ``spool/PATIENT/STUDY/SERIES/IMAGE.dcm``, each name a keyed hash.

The tree is the whole state: an image is there completely or not at all, and nothing is kept in memory that a restart
would lose. The same image again takes the place of the first. The key lies in the storage folder, so that hashes in
logs say nothing to whoever has the logs alone.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_NAME_DIGITS = 20
_KEY_NAME = "names.key"


@dataclass(frozen=True)
class Identity:
    """What an image says it is.

    Parameters
    ----------
    patient
        PatientID.
    study, series, instance
        UIDs.
    """

    patient: str
    study: str
    series: str
    instance: str

    def __post_init__(self) -> None:
        for name in ("patient", "study", "series", "instance"):
            if not getattr(self, name):
                raise ValueError(f"no {name}")


@dataclass(frozen=True)
class StoredStudy:
    """A study in the spool.

    Parameters
    ----------
    patient, key
        Hashes.
    folder
        A folder per series below it.
    arrived
        When the newest image came, seconds since 1970.
    """

    patient: str
    key: str
    folder: Path
    arrived: float

    def series(self) -> dict[str, tuple[Path, ...]]:
        """Files by series, in the order of their names; empty series are left out."""
        found = {place.name: tuple(sorted(place.glob("*.dcm"))) for place in sorted(self.folder.iterdir())}
        return {name: files for name, files in found.items() if files}

    def fingerprint(self) -> str:
        """The same images, whenever they came, have the same."""
        names = [f"{series}/{path.name}" for series, files in self.series().items() for path in files]
        return hashlib.sha256("\n".join([self.patient, self.key, *names]).encode()).hexdigest()[:_NAME_DIGITS]


class Spool:
    """Writes and finds images; `store` may be called from several threads.

    Parameters
    ----------
    storage
        The node's folder, made if it is not there.
    """

    def __init__(self, storage: Path) -> None:
        self._tree, self._incoming, self._trash = storage / "spool", storage / "incoming", storage / "trash"
        for folder in (self._incoming, self._trash):
            shutil.rmtree(folder, ignore_errors=True)  # half an image, half a removal of a process that was killed
        for folder in (self._tree, self._incoming, self._trash):
            folder.mkdir(parents=True, exist_ok=True)
        self._key = _key_of(storage / _KEY_NAME)
        self._placing = threading.Lock()

    def hashed(self, text: str) -> str:
        """The name of a PatientID or UID here."""
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()[:_NAME_DIGITS]

    def free_bytes(self) -> int:
        """Space that is left on the disk."""
        return shutil.disk_usage(self._tree).free

    def store(self, identity: Identity, file: bytes) -> Path:
        """Put an image in its place; when this returns it survives a power cut.

        Parameters
        ----------
        identity
            What it is.
        file
            A whole DICOM file.

        Raises
        ------
        OSError
            If it cannot be written; nothing of it is there then.
        """
        partial = self._incoming / secrets.token_hex(8)
        try:
            with partial.open("xb") as out:
                out.write(file)
                out.flush()
                os.fsync(out.fileno())
            names = (identity.patient, identity.study, identity.series)
            place = self._tree.joinpath(*(self.hashed(name) for name in names))
            target = place / f"{self.hashed(identity.instance)}.dcm"
            with self._placing:  # a study that is being moved away takes no more
                new = not place.is_dir()
                place.mkdir(parents=True, exist_ok=True)
                os.replace(partial, target)
            for folder in (place, place.parent, place.parent.parent, self._tree) if new else (place,):
                with suppress(FileNotFoundError):  # moved away meanwhile, with the image
                    sync_folder(folder)
        except OSError:
            partial.unlink(missing_ok=True)
            raise
        return target

    def studies(self) -> Iterator[StoredStudy]:
        """What lies here, by patient."""
        for patient in sorted(self._tree.iterdir()):
            for study in sorted(patient.iterdir()):
                with suppress(FileNotFoundError):
                    newest = max(place.stat().st_mtime for place in (study, *study.iterdir()))
                    yield StoredStudy(patient.name, study.name, study, newest)

    def move(self, patient: str, study: str, target: Path) -> bool:
        """Move a study to where a job wants it; False if it is not here (it has been moved before)."""
        with self._placing:
            try:
                os.rename(self._tree / patient / study, target)
            except FileNotFoundError:
                return False
            with suppress(OSError):  # another study of the patient's lies there
                (self._tree / patient).rmdir()
        sync_folder(target.parent)
        return True

    def drop(self, study: StoredStudy) -> None:
        """Forget a study: in one step, so that never a part of it stays."""
        gone = self._trash / secrets.token_hex(8)
        if self.move(study.patient, study.key, gone):
            shutil.rmtree(gone, ignore_errors=True)

    def sweep(self, older_than_s: float) -> list[StoredStudy]:
        """Forget studies that nothing has come of for so long; gives them."""
        limit = time.time() - older_than_s
        old = [study for study in self.studies() if study.arrived < limit]
        for study in old:
            self.drop(study)
        return old


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some file systems cannot, of folders
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, content: bytes) -> None:
    """Write a small file in one step: afterwards it has the old content or the new one, whatever happens."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with partial.open("xb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    os.replace(partial, path)
    sync_folder(path.parent)


def _key_of(path: Path) -> bytes:
    """The storage's own key; made once, readable by its owner alone."""
    if not path.exists():
        write_whole(path, secrets.token_bytes(32))
        path.chmod(0o600)
    return path.read_bytes()
