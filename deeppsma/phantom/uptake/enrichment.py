"""Enriched cohorts: every patient has a finding that is rare, so that few patients teach it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from deeppsma.core.settings import read_toml
from deeppsma.phantom.uptake.physiology import Physiology

#: In an enriched patient: chance of each finding beyond the one that he has for certain, and of each further pitfall
#: of a finding that has several.
_ALSO, _FURTHER = 0.2, 0.35
_ACTIVE_MARROW, _METFORMIN = "active-marrow", "metformin"


@dataclass(frozen=True)
class Enriched:
    """What one patient of an enriched cohort has more of.

    Parameters
    ----------
    names
        Of `resources/phantom/enrichments.toml`; empty in a natural cohort.
    pitfalls
        Kinds of pitfalls that he has for certain.
    active_marrow
        Factor on marrow, or 1.
    metformin
        Whether he takes it for certain.
    """

    names: tuple[str, ...] = ()
    pitfalls: frozenset[str] = frozenset()
    active_marrow: float = 1.0
    metformin: bool = False

    def on_the_day(self, day: Physiology) -> Physiology:
        """A day of a natural patient, with what this one has more of."""
        return replace(
            day,
            active_marrow=max(day.active_marrow, self.active_marrow),
            metformin=day.metformin or self.metformin,
        )


@cache
def enrichments() -> Mapping[str, Mapping[str, Sequence[str]]]:
    """Content of `resources/phantom/enrichments.toml`: by name, pitfalls and states of the day."""
    return read_toml("phantom", "enrichments")[1]


def check_enrichments(names: Sequence[str]) -> None:
    """Refuse names that there are not, or one twice.

    Raises
    ------
    ValueError
        Lists what there is.
    """
    unknown = [name for name in names if name not in enrichments()]
    if unknown or len(set(names)) != len(names):
        raise ValueError(f"enrich must be some of {', '.join(enrichments())}, once each, not {', '.join(names)}")


def draw_enriched(names: Sequence[str], rng: np.random.Generator) -> Enriched:
    """What one patient has more of: one of the names for certain, others by chance; nothing without names.

    Parameters
    ----------
    names
        That the cohort is enriched with; see `check_enrichments`.
    rng
        Source of the draw.
    """
    if not names:
        return Enriched()
    first = int(rng.integers(len(names)))
    also = rng.random(len(names)) < _ALSO
    mine = tuple(name for number, name in enumerate(names) if number == first or also[number])
    pitfalls: set[str] = set()
    states: set[str] = set()
    for name in mine:
        kinds = enrichments()[name].get("pitfalls", ())
        if kinds:
            certain = int(rng.integers(len(kinds)))
            further = rng.random(len(kinds)) < _FURTHER
            pitfalls |= {kind for number, kind in enumerate(kinds) if number == certain or further[number]}
        states |= set(enrichments()[name].get("day", ()))
    factor = float(rng.uniform(1.5, 2.8)) if _ACTIVE_MARROW in states else 1.0
    return Enriched(mine, frozenset(pitfalls), factor, _METFORMIN in states and bool(rng.random() < 0.5))
