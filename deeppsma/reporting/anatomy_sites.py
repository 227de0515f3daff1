"""The sites that a focus can be called by: data, read from ``resources/anatomy/sites.toml`` and checked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from deeppsma.core.anatomy import LABEL_MAX
from deeppsma.core.errors import ConfigurationError
from deeppsma.core.settings import read_toml

KINDS = ("local", "node", "bone", "organ", "soft tissue")
REGIONS = ("prostate", "pelvic nodes", "other nodes", "bone", "viscera", "other")
PLACES = ("anywhere", "pelvis", "abdomen", "below cava's hiatus", "chest")
SIDED = ("no", "place", "label")


@dataclass(frozen=True)
class Site:
    """One thing that a focus can be called.

    Parameters
    ----------
    name
        "iliac", "rib".
    kind, region
        One of `KINDS`, one of `REGIONS`.
    labels
        TotalSegmentator labels that it is near to.
    side
        "left", "right" or "" (none, or by place).
    level
        "T7", "9", or "".
    sided
        One of `SIDED`: whether ``side`` is the label's, is told by the place against the spine, or means nothing.
    where
        One of `PLACES`: between which heights the site can be.
    bias_mm
        Added to the distance; below zero for what is more likely than its distance says.
    midline_within_mm
        How far from the spine's middle it can be; None anywhere.
    """

    name: str
    kind: str
    region: str
    labels: tuple[int, ...]
    side: str = ""
    level: str = ""
    sided: str = "no"
    where: str = "anywhere"
    bias_mm: float = 0.0
    midline_within_mm: float | None = None

    def __post_init__(self) -> None:
        for value, known in (
            (self.kind, KINDS),
            (self.region, REGIONS),
            (self.where, PLACES),
            (self.sided, SIDED),
            (self.side, ("", "left", "right")),
        ):
            if value not in known:
                raise ValueError(f"site {self.name}: {value!r} is none of {', '.join(map(repr, known))}")
        if not self.labels or not all(1 <= label <= LABEL_MAX for label in self.labels):
            raise ValueError(f"site {self.name}: labels must be 1 to {LABEL_MAX}, not {self.labels}")


@dataclass(frozen=True)
class SiteRules:
    """All sites, and what holds for all.

    Parameters
    ----------
    sites
        A pair or a row of bones is one site for each.
    largest_mm
        A focus farther than this from every site is "soft tissue".
    midline_mm
        A focus nearer than this to the spine's middle is neither left nor right.
    """

    sites: tuple[Site, ...]
    largest_mm: float
    midline_mm: float

    def __post_init__(self) -> None:
        if not self.sites or not (self.largest_mm > 0 and self.midline_mm >= 0):
            raise ValueError("sites, a positive largest_mm and a midline_mm of 0 or more are needed")


@cache
def load_sites() -> SiteRules:
    """The shipped rules.

    Raises
    ------
    ConfigurationError
        If the file makes no sense.
    """
    path, content = read_toml("anatomy", "sites")
    try:
        sites = tuple(site for entry in content["site"] for site in expanded(entry))
        return SiteRules(sites, content["largest_mm"], content["midline_mm"])
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(path, f"no table of sites ({error})", "mend the file") from None


def expanded(entry: dict[str, Any]) -> list[Site]:
    """Sites of one entry: one, one per side, or one per side and level.

    Raises
    ------
    TypeError, ValueError
        If the entry makes no sense.
    """
    rest = dict(entry)
    sites: list[Site] = []
    for side in ("", "left", "right"):
        sided: dict[str, Any] = {"side": side, "sided": "label"} if side else {}
        if labels := rest.pop(side or "labels", ()):
            sites.append(Site(labels=tuple(labels), **sided, **_common(rest)))
        levels = rest.pop(f"{side}_levels" if side else "levels", {})
        sites += [Site(labels=(label,), level=level, **sided, **_common(rest)) for level, label in levels.items()]
    if not sites:
        raise ValueError(f"entry {entry.get('name')} has no labels")
    return sites


def _common(entry: dict[str, Any]) -> dict[str, Any]:
    own = ("labels", "left", "right", "levels", "left_levels", "right_levels")
    return {key: value for key, value in entry.items() if key not in own}
