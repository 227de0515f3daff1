"""DICOM files of a folder, by their first bytes: headers without pixels, and what could not be read.

A folder may hold anything: thousands of other files, links in a circle, pipes, folders that this user may not open.
A file's name says nothing; a file is DICOM if it has the mark ``DICM`` after 128 bytes, or begins as a data set
without that mark does.
"""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deeppsma.core.errors import InputError
from deeppsma.io.dicom.header import DAMAGE, Header

_MARK_BYTES = 132
#: A data set without preamble begins with group 0002 or 0008, little endian, and a low element.
_BARE_GROUPS = (b"\x02\x00", b"\x08\x00")
_BARE_LENGTH_MAX = 256
_DIRECTORY_CLASS = "1.2.840.10008.1.3.10"
_INSTALL = "pip install 'deeppsma[dicom]'"


@dataclass(frozen=True)
class FolderScan:
    """What a folder holds.

    Parameters
    ----------
    folder
        Where it was looked.
    headers
        Of DICOM files with an instance and a series, by path.
    unreadable
        Files that begin as DICOM and are not, with the reason; folders that may not be opened.
    other_count
        Files that are something else; a DICOMDIR is one, as the files that it lists are looked at themselves.
    """

    folder: Path
    headers: tuple[Header, ...]
    unreadable: tuple[tuple[Path, str], ...]
    other_count: int


def require_pydicom() -> None:
    """Refuse where pydicom is not installed.

    Raises
    ------
    InputError
        Says how to install it.
    """
    try:
        import pydicom  # noqa: F401
    except ImportError:
        raise InputError("DICOM", "pydicom is not installed", _INSTALL) from None


def holds_dicom(folder: Path, look_at: int = 2000) -> bool:
    """Whether a DICOM file is among a folder's first files; a quick look for the layout.

    Parameters
    ----------
    folder
        Looked through with its subfolders.
    look_at
        How many files at most.
    """
    for count, path in enumerate(_regular_files(folder, [])):
        if begins_as_dicom(path):
            return True
        if count >= look_at:
            return False
    return False


def scan_folder(folder: Path | str) -> FolderScan:
    """Headers of all DICOM files below a folder.

    Parameters
    ----------
    folder
        Links are followed, each folder is entered once.

    Raises
    ------
    InputError
        If there is no such folder, or pydicom is not installed.
    """
    require_pydicom()
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(folder, "no such folder", "give a folder of DICOM files")
    headers: list[Header] = []
    unreadable: list[tuple[Path, str]] = []
    others = 0
    for path in _regular_files(folder, unreadable):
        try:
            header = read_header(path) if begins_as_dicom(path) else None
        except InputError as error:
            unreadable.append((path, error.found))
            continue
        if header is None:
            others += 1
        else:
            headers.append(header)
    headers.sort(key=lambda header: header.path)
    return FolderScan(folder, tuple(headers), tuple(sorted(unreadable)), others)


def _regular_files(folder: Path, unreadable: list[tuple[Path, str]]) -> Iterator[Path]:
    entered: set[tuple[int, int]] = set()
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        try:
            status = place.stat()
            if (status.st_dev, status.st_ino) in entered:
                continue
            entered.add((status.st_dev, status.st_ino))
            with os.scandir(place) as entries:
                listing = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            unreadable.append((place, f"not readable ({error.strerror})"))
            continue
        for entry in listing:
            try:
                mode = entry.stat().st_mode
            except OSError:  # a link to nothing, or in a circle
                continue
            if stat.S_ISDIR(mode):
                waiting.append(Path(entry.path))
            elif stat.S_ISREG(mode):
                yield Path(entry.path)


def begins_as_dicom(path: Path) -> bool:
    """Whether a file's first bytes are DICOM's; a file that may not be read is taken for one."""
    try:
        with path.open("rb") as file:
            start = file.read(_MARK_BYTES)
    except OSError:
        return True
    return start[128:132] == b"DICM" or _begins_bare(start)


def _begins_bare(start: bytes) -> bool:
    """Whether bytes are a first element without preamble: a low tag, then a value representation or a short length."""
    if start[:2] not in _BARE_GROUPS or start[3:4] != b"\x00" or len(start) < _MARK_BYTES:
        return False
    explicit = start[4:6].isalpha() and start[4:6].isupper()
    return explicit or int.from_bytes(start[4:8], "little") <= _BARE_LENGTH_MAX


def read_header(path: Path) -> Header | None:
    """Header of a DICOM file, without pixels.

    Parameters
    ----------
    path
        A file that `begins_as_dicom`.

    Returns
    -------
    Header or None
        None where bytes that look like DICOM's beginning are something else, and for a DICOMDIR.

    Raises
    ------
    InputError
        If the file has DICOM's mark but cannot be read, or has no series.
    """
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        with path.open("rb") as file:
            marked = file.read(_MARK_BYTES)[128:] == b"DICM"
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise InputError(path, f"not readable ({error.strerror})", "give this user read access") from None
    broken = InputError(path, "not a readable DICOM file", "copy or export it again, or take it away")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = Header(path, dcmread(path, stop_before_pixels=True, force=not marked), size)
            found = header.text("SOPClassUID"), header.text("SeriesInstanceUID")
    except (*DAMAGE, InvalidDicomError, InputError):
        if not marked:
            return None
        raise broken from None
    if all(found):
        return header
    if not marked:
        return None
    # A DICOMDIR names its class in the file's own header only.
    if header.meta("MediaStorageSOPClassUID") == _DIRECTORY_CLASS:
        return None
    raise broken
