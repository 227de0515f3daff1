"""Recipes: which members, which fusion, which growing. Data, in ``resources/recipes``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from deeppsma.errors import ConfigurationError
from deeppsma.organs import LABEL_MAX
from deeppsma.resources import names, read_toml
from deeppsma.tracer import Tracer
from deeppsma.weights import ALL_MEMBERS

FUSIONS = ("single", "bothways")
DEFAULT_RECIPE = "bothways"


@dataclass(frozen=True)
class Growing:
    """Organ-aware region growing on the threshold.

    Parameters
    ----------
    radius_mm
        How far the mask may grow.
    kept_organs
        TotalSegmentator labels inside which the mask stays as it was.
    """

    radius_mm: float
    kept_organs: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.radius_mm <= 50:
            raise ValueError(f"radius_mm must be above 0 and at most 50, not {self.radius_mm}")
        if any(not 1 <= label <= LABEL_MAX for label in self.kept_organs):
            raise ValueError(f"kept_organs must be labels from 1 to {LABEL_MAX}, not {self.kept_organs}")


@dataclass(frozen=True)
class Recipe:
    """How a case is segmented.

    Parameters
    ----------
    name, summary, source
        For people.
    members
        Names of weights, or "*" for all of the store.
    fusion
        "single": each tracer's answer from its own space. "bothways": united
        with the answer from the other tracer's space.
    growing
        None for no growing.
    cutoffs
        By tracer: probability from which on a voxel is disease, in (0, 1);
        0.5 for a tracer that is not named.
    window_overlap
        Share by which windows overlap, in [0, 1).
    """

    name: str
    members: tuple[str, ...]
    fusion: str
    summary: str = ""
    source: str = ""
    growing: Growing | None = None
    cutoffs: Mapping[str, float] = field(default_factory=dict)
    window_overlap: float = 0.5

    def __post_init__(self) -> None:
        if self.fusion not in FUSIONS:
            raise ValueError(f"fusion must be one of {', '.join(FUSIONS)}, not {self.fusion!r}")
        if not self.members or (ALL_MEMBERS in self.members and len(self.members) > 1):
            raise ValueError(f'members must be names, or "{ALL_MEMBERS}" alone, not {self.members}')
        if set(self.cutoffs) - set(Tracer) or any(not 0 < value < 1 for value in self.cutoffs.values()):
            raise ValueError(f"cutoffs must be between 0 and 1, by tracer, not {self.cutoffs}")
        if not 0 <= self.window_overlap < 1:
            raise ValueError(f"window_overlap must be at least 0 and below 1, not {self.window_overlap}")

    def cutoff(self, tracer: Tracer) -> float:
        """Probability from which on a voxel is disease."""
        return self.cutoffs.get(tracer.value, 0.5)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for the run report."""
        return asdict(self)


def load_recipe(name: str) -> Recipe:
    """The recipe of a name.

    Raises
    ------
    ConfigurationError
        If there is none of that name, or a value makes no sense.
    """
    path, content = read_toml("recipes", name)
    if unknown := set(content) - ({each.name for each in fields(Recipe)} - {"name"}):
        raise ConfigurationError(path, f"unknown keys {sorted(unknown)}", "mend the recipe")
    try:
        growing = content.pop("growing", None)
        if growing is not None:
            growing = Growing(float(growing["radius_mm"]), tuple(growing.get("kept_organs", ())))
        members = tuple(content.pop("members"))
        return Recipe(name=name, members=members, growing=growing, **content)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(path, str(error), "mend the recipe") from None


def all_recipes() -> list[Recipe]:
    """Every recipe there is, by name."""
    return [load_recipe(name) for name in names("recipes")]
