"""Radionuclides and radiopharmaceuticals: ``resources/dicom/agents.toml`` as data, and codes and words looked up in it.

The same code is written under several names of its scheme: SRT, SNM3 and 99SDM are one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from deeppsma.core.errors import ConfigurationError
from deeppsma.core.settings import from_plain, read_toml
from deeppsma.core.tracer import Tracer
from deeppsma.io.dicom.header import Header


@dataclass(frozen=True)
class Nuclide:
    """A positron emitter.

    Parameters
    ----------
    name
        As ``F-18``.
    codes
        ``SCHEME:VALUE``, schemes by their normal names.
    words
        In small letters, letters and digits only.
    half_life_s
        Seconds.
    """

    name: str
    codes: tuple[str, ...]
    words: tuple[str, ...]
    half_life_s: float

    def __post_init__(self) -> None:
        if not self.half_life_s > 0:
            raise ValueError(f"{self.name}: half_life_s must be positive, not {self.half_life_s}")


@dataclass(frozen=True)
class Agent:
    """A radiopharmaceutical.

    Parameters
    ----------
    name
        For messages.
    nuclides
        Names of those that it is made with.
    codes, words
        As for `Nuclide`.
    tracer
        "psma", "fdg", or "" for neither.
    """

    name: str
    nuclides: tuple[str, ...]
    codes: tuple[str, ...]
    words: tuple[str, ...]
    tracer: str = ""

    def __post_init__(self) -> None:
        if self.tracer not in ("", *Tracer):
            raise ValueError(f"{self.name}: tracer must be psma, fdg or nothing, not {self.tracer!r}")
        if not self.nuclides:
            raise ValueError(f"{self.name}: no nuclide")


@dataclass(frozen=True)
class Catalogue:
    """What is known of nuclides and agents; see `catalogue`."""

    schemes: dict[str, str]
    nuclides: tuple[Nuclide, ...]
    agents: tuple[Agent, ...]

    def __post_init__(self) -> None:
        known = {nuclide.name for nuclide in self.nuclides}
        if strange := sorted({name for agent in self.agents for name in agent.nuclides} - known):
            raise ValueError(f"agents of unknown nuclides {strange}")

    def code_of(self, item: Header) -> str:
        """Code of an item of a code sequence as ``SCHEME:VALUE``, scheme normalised; "" where there is none."""
        value = item.text("CodeValue") or item.text("LongCodeValue")
        scheme = item.text("CodingSchemeDesignator").upper()
        return f"{self.schemes.get(scheme, scheme)}:{value}" if value else ""

    def nuclide_of_code(self, code: str) -> Nuclide | None:
        """The nuclide of a normalised code; None for another."""
        return next((nuclide for nuclide in self.nuclides if code in nuclide.codes), None)

    def nuclide_of_text(self, text: str) -> Nuclide | None:
        """The nuclide that a text names; None where it names none or several."""
        plain = plain_letters(text)
        found = [nuclide for nuclide in self.nuclides if any(_as_number(word, plain) for word in nuclide.words)]
        return found[0] if len(found) == 1 else None

    def nuclide_of_half_life(self, half_life_s: float, tolerance: float) -> Nuclide | None:
        """The nuclide with a half-life, within a share of it; None where there is none."""
        near = [n for n in self.nuclides if abs(half_life_s / n.half_life_s - 1) <= tolerance]
        return min(near, key=lambda n: abs(half_life_s / n.half_life_s - 1)) if near else None

    def agent_of_code(self, code: str) -> Agent | None:
        """The agent of a normalised code; None for another."""
        return next((agent for agent in self.agents if code in agent.codes), None)

    def agents_of_text(self, text: str) -> tuple[Agent, ...]:
        """The agents that a text names, the most exact of each tracer."""
        plain = plain_letters(text)
        found: dict[str, Agent] = {}
        for agent in self.agents:
            if any(word in plain for word in agent.words):
                found.setdefault(agent.tracer or agent.name, agent)
        return tuple(found.values())


def plain_letters(text: str) -> str:
    """Small letters and digits of a text, all else taken out: ``[18F] FDG`` is ``18ffdg``."""
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _as_number(word: str, plain: str) -> bool:
    """Whether a nuclide's name stands in a text and is not part of a longer number (C-11 is not in PSMA-C117)."""
    before = r"(?<!\d)" if word[0].isdigit() else ""
    after = r"(?!\d)" if word[-1].isdigit() else ""
    return re.search(before + word + after, plain) is not None


@cache
def catalogue() -> Catalogue:
    """Nuclides and agents of ``resources/dicom/agents.toml``.

    Raises
    ------
    ConfigurationError
        If the file makes no sense.
    """
    path, content = read_toml("dicom", "agents")
    try:
        schemes = {name: normal for normal, names in content["schemes"].items() for name in names}
        nuclides = _each(Nuclide, content["nuclide"])
        agents = _each(Agent, content["agent"])
        return Catalogue(schemes, nuclides, agents)
    except (KeyError, ValueError) as error:
        raise ConfigurationError(path, str(error), "mend the table of agents") from None


def _each(cls: type, rows: Sequence[dict[str, Any]]) -> Any:
    return tuple(from_plain(cls, row) for row in rows)
