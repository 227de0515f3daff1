"""Anatomical names of foci: kind, side, level, and a second choice.

`deeppsma.reporting.anatomy_map` finds them. Levels are the organ map's count: neighbouring vertebrae and ribs are mixed
up now and then, which the text says by "(+-1)".
"""

from __future__ import annotations

from dataclasses import dataclass

_NO_MAP = "unnamed: no organ map"


@dataclass(frozen=True)
class SiteName:
    """What a focus is called.

    Parameters
    ----------
    name, kind, region
        As in `deeppsma.reporting.anatomy_sites.Site`.
    side
        "left", "right", "midline" or "" where sides mean nothing.
    level
        "T7", "9" (of a rib), or "".
    distance_mm
        Mean distance of the focus' voxels from the site's labels; 0 inside. NaN where nothing is near.
    height
        Vertebra at the same height, or "".
    """

    name: str
    kind: str
    region: str
    side: str = ""
    level: str = ""
    distance_mm: float = float("nan")
    height: str = ""

    @property
    def text(self) -> str:
        """In words: "bone, T7 (+-1)", "node, left iliac, below the promontory"."""
        name = self.name
        if self.name == "vertebra":
            name = f"{self.level} (\N{PLUS-MINUS SIGN}1)"
        elif self.name == "rib":
            name = f"{self.side} rib {self.level} (\N{PLUS-MINUS SIGN}1)"
        elif self.side:
            name = f"{self.name}, midline" if self.side == "midline" else f"{self.side} {self.name}"
        at = f", at {self.height}" if self.height and self.kind in ("node", "soft tissue") else ""
        return name if self.name == _NO_MAP else f"{self.kind}, {name}{at}"


@dataclass(frozen=True)
class Naming:
    """A focus' name and the next best one.

    Parameters
    ----------
    first
        What it is called.
    second
        The next site of another name, side or level; None where there is none within reach.
    margin_mm
        By how much the second is farther, allowances included; small means uncertain. Infinite without a second.
    """

    first: SiteName
    second: SiteName | None
    margin_mm: float


def unnamed(why: str = _NO_MAP) -> Naming:
    """The name of a focus that cannot be named."""
    return Naming(SiteName(why, "soft tissue", "other"), None, float("inf"))
