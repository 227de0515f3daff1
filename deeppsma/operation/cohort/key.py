"""What a result was made of: a key of the method, and of a case's files. Results of different keys are not mixed.

A case's files are looked at in two ways. Their ``stamp`` (names, sizes, times) costs no reading and says whether
anything can have changed; their ``content`` is hashed when the case is run, and again where the stamp differs or the
user wants to be sure.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from deeppsma._version import __version__
from deeppsma.core.hashing import file_sha256
from deeppsma.operation.cohort.plan import CohortSettings


def method_key(settings: CohortSettings) -> str:
    """Key of recipe, weights, version, and what is said of DICOM; SHA-256.

    Device and precision are not in it: they are told for each case.

    Raises
    ------
    DeepPsmaError
        If the recipe or its weights cannot be used.
    """
    from deeppsma.models.store import WeightsStore
    from deeppsma.pipeline.method import Method
    from deeppsma.pipeline.recipe import load_recipe

    method = Method.choose(load_recipe(settings.recipe), WeightsStore.default(settings.weights))
    site = settings.site.read_text(encoding="utf-8") if settings.site is not None else ""
    said = [site, settings.psma_threshold, settings.fdg_threshold]
    content = json.dumps([__version__, method.identity, said], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()


def stamp(folder: Path) -> str:
    """Hash of names, sizes and times of a case's files.

    Raises
    ------
    OSError
        If the folder, or a file in it, cannot be looked at.
    """
    digest = hashlib.sha256()
    for name, path in _files(folder):
        found = path.stat()
        digest.update(f"{name}\0{found.st_size}\0{found.st_mtime_ns}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def content(folder: Path) -> str:
    """Hash of names and bytes of a case's files.

    Raises
    ------
    OSError
        If one cannot be read.
    """
    digest = hashlib.sha256()
    for name, path in _files(folder):
        digest.update(f"{name}\0{file_sha256(path)}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every visible file below a folder, by name; links to folders are followed, each folder is entered once."""
    waiting, entered, found = [folder], set(), []
    while waiting:
        place = waiting.pop()
        status = place.stat()
        if (status.st_dev, status.st_ino) in entered:
            continue
        entered.add((status.st_dev, status.st_ino))
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    waiting.append(Path(entry.path))
                elif entry.is_file():
                    found.append((os.path.relpath(entry.path, folder), Path(entry.path)))
    yield from sorted(found)
