"""A lesion's place as SNOMED codes, where there is one that says no more than is known."""

from __future__ import annotations

from functools import cache

from deeppsma.core.errors import ConfigurationError
from deeppsma.core.settings import read_toml
from deeppsma.io.dicom.lesion_map import Code
from deeppsma.reporting.anatomy_names import SiteName
from deeppsma.reporting.anatomy_sites import load_sites

_SIDES = {"left": Code("7771000", "SCT", "Left"), "right": Code("24028007", "SCT", "Right")}


def finding_site(place: SiteName) -> tuple[Code | None, Code | None]:
    """Codes of a place and of its side; None for what has none."""
    site = site_codes().get(f"{place.kind}, {place.name}")
    return site, (_SIDES.get(place.side) if site is not None else None)


@cache
def site_codes() -> dict[str, Code]:
    """Codes by "kind, name" (``resources/anatomy/snomed.toml``).

    Raises
    ------
    ConfigurationError
        If the table makes no sense, or has a site that nothing is called by.
    """
    path, content = read_toml("anatomy", "snomed")
    known = {f"{site.kind}, {site.name}" for site in load_sites().sites}
    codes = {}
    for name, entry in content.items():
        if not (isinstance(entry, list) and len(entry) == 2 and all(isinstance(text, str) for text in entry)):
            raise ConfigurationError(path, f"{name!r} is no pair of code and meaning", "mend the table")
        if name not in known:
            raise ConfigurationError(path, f"{name!r} is no site of sites.toml", "mend the table")
        codes[name] = Code(entry[0], "SCT", entry[1])
    return codes
