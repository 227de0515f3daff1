"""The nine sockets of a Grand Challenge job, and where their files lie.

Source: the challenge's interface page and the organisers' example algorithm.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from deeppsma.core.errors import InputError
from deeppsma.core.settings import read_json
from deeppsma.core.tracer import Tracer
from deeppsma.io.image_files import is_image

PET, CT, ORGANS, THRESHOLD, REGISTRATION = "pet", "ct", "organs", "threshold", "registration"
INPUTS_NAME = "inputs.json"


@dataclass(frozen=True)
class Socket:
    """One input of the algorithm.

    Parameters
    ----------
    slug
        Its name in ``inputs.json``.
    relative_path
        Its standard place: a folder for images, a file for JSON.
    kind
        What it holds.
    tracer
        Whose it is; None for the registration.
    """

    slug: str
    relative_path: str
    kind: str
    tracer: Tracer | None

    @property
    def is_image(self) -> bool:
        """Whether it is a folder with one image in it."""
        return self.kind in (PET, CT, ORGANS)


SOCKETS = (
    Socket("psma-ct-image", "images/psma-ct", CT, Tracer.PSMA),
    Socket("psma-ct-image-organ-segmentation", "images/psma-ct-organ-segmentation", ORGANS, Tracer.PSMA),
    Socket("psma-pet-ga-68", "images/psma-pet-ga-68", PET, Tracer.PSMA),
    Socket("psma-pet-suv-threshold", "psma-pet-suv-threshold.json", THRESHOLD, Tracer.PSMA),
    Socket("fdg-ct-image", "images/fdg-ct", CT, Tracer.FDG),
    Socket("fdg-ct-image-organ-segmentation", "images/fdg-ct-organ-segmentation", ORGANS, Tracer.FDG),
    Socket("fdg-pet", "images/fdg-pet", PET, Tracer.FDG),
    Socket("fdg-pet-suv-threshold", "fdg-pet-suv-threshold.json", THRESHOLD, Tracer.FDG),
    Socket("psma-to-fdg-registration", "psma-to-fdg-registration.json", REGISTRATION, None),
)
_BY_SLUG = {socket.slug: socket for socket in SOCKETS}


@dataclass(frozen=True)
class Found:
    """What was found for a socket.

    Parameters
    ----------
    path
        The image or JSON file.
    value
        The JSON value where ``inputs.json`` holds it inline and no file is
        there; else None.
    """

    path: Path
    value: Any = None


def find_sockets(folder: Path) -> dict[str, Found]:
    """Find every socket that a platform input folder offers.

    Sockets are named by ``inputs.json``; where that file is missing, the
    standard paths are looked at. A socket that ``inputs.json`` names must be
    there. Whether one that is not offered is needed is for the caller to say.

    Parameters
    ----------
    folder
        The platform's ``/input``.

    Returns
    -------
    dict
        By slug.

    Raises
    ------
    InputError
        If ``inputs.json`` is broken, names an unknown interface, or points
        outside the folder; if a socket's folder holds no image or several.
    """
    listing = folder / INPUTS_NAME
    found = {}
    if listing.exists():
        for socket, relative, value in _listed(listing):
            found[socket.slug] = _locate(socket, folder / relative, value)
    else:
        for socket in SOCKETS:
            if (folder / socket.relative_path).exists():
                found[socket.slug] = _locate(socket, folder / socket.relative_path, None)
    return found


def _listed(listing: Path) -> list[tuple[Socket, str, Any]]:
    remedy = "give the list that the platform writes, or remove the file to use the standard paths"
    entries = read_json(listing, remedy)
    if not isinstance(entries, list):
        raise InputError(listing, f"a {type(entries).__name__} instead of a list", remedy)
    out: list[tuple[Socket, str, Any]] = []
    for entry in entries:
        interface = _interface(entry, listing, remedy)
        slug = interface["slug"]
        if slug not in _BY_SLUG:
            raise InputError(
                listing, f"unknown interface {slug!r}", f"this algorithm takes {', '.join(sorted(_BY_SLUG))}"
            )
        if slug in {socket.slug for socket, _, _ in out}:
            raise InputError(listing, f"interface {slug!r} named twice", remedy)
        relative = interface.get("relative_path", _BY_SLUG[slug].relative_path)
        if not isinstance(relative, str) or not _stays_inside(relative):
            raise InputError(listing, f"{slug} points outside the input folder: {relative!r}", remedy)
        out.append((_BY_SLUG[slug], relative, entry.get("value")))
    return out


def _interface(entry: Any, listing: Path, remedy: str) -> dict[str, Any]:
    """What an entry says of its socket: the platform has called it interface, and socket since 2026."""
    given = [entry[key] for key in ("interface", "socket") if isinstance(entry, dict) and entry.get(key) is not None]
    for each in given:
        if not isinstance(each, dict) or not isinstance(each.get("slug"), str):
            raise InputError(listing, "an entry without an interface and its slug", remedy)
    if not given:
        raise InputError(listing, "an entry without an interface and its slug", remedy)
    first, *others = given
    for other in others:
        if any(other.get(key) != first.get(key) for key in ("slug", "relative_path")):
            raise InputError(listing, f"an entry whose interface, {first['slug']!r}, and socket differ", remedy)
    return dict(first)


def _stays_inside(relative: str) -> bool:
    path = PurePosixPath(relative)
    return "\0" not in relative and bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def _locate(socket: Socket, place: Path, value: Any) -> Found:
    if not socket.is_image:
        if place.is_file():
            return Found(place)
        if value is not None:
            return Found(place, value)
        raise InputError(place, f"no such file (socket {socket.slug})", "add the socket's JSON file")
    if place.is_file() and is_image(place):
        return Found(place)
    if not place.is_dir():
        raise InputError(place, f"no such folder (socket {socket.slug})", "add the folder with its one image")
    images = sorted(path for path in place.iterdir() if path.is_file() and is_image(path))
    if len(images) != 1:
        held = sorted(path.name for path in place.iterdir())
        what = "holds no image" if not images else f"holds {len(images)} images"
        listing = f" ({', '.join(held[:5])})" if held else " (it is empty)"
        raise InputError(place, what + listing, "put exactly one .mha, .tif or .nii.gz image there")
    return Found(images[0])
