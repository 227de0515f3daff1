"""What lies beside the PETs: organ maps and CTs, read only where a member or a recipe asks for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from deeppsma.core.errors import InputError
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.io.case import Case
from deeppsma.models.config import NetworkConfig
from deeppsma.models.nnunet.config import ModelConfig
from deeppsma.models.weights import Member


@dataclass(frozen=True)
class Companions:
    """Organ maps and CTs by tracer, on grids of their own; None where there is none, or nobody asks.

    Parameters
    ----------
    organs
        TotalSegmentator labels.
    cts
        HU.
    """

    organs: Mapping[Tracer, Volume | None] = field(default_factory=lambda: dict.fromkeys(Tracer))
    cts: Mapping[Tracer, Volume | None] = field(default_factory=lambda: dict.fromkeys(Tracer))


def read_companions(
    case: Case, members: Sequence[Member], without_organs: Sequence[str], fallbacks: list[str]
) -> Companions:
    """Read what members are fed, and what growing spares.

    Parameters
    ----------
    case
        The case.
    members
        That will run on it.
    without_organs
        What a missing organ map does to the recipe; nothing if the recipe
        needs none.
    fallbacks
        Told of a missing organ map that can be done without.

    Raises
    ------
    InputError
        If a file is unusable, or one is missing that a member cannot do
        without: a CT, or the map of a member that sees classes of organs.
    """
    organs: dict[Tracer, Volume | None] = {}
    cts: dict[Tracer, Volume | None] = {}
    for tracer in Tracer:
        study = case.study(tracer)
        fed = [member for member in members if member.network.needs("organs", tracer)]
        organs[tracer] = study.read_organs() if fed or without_organs else None
        if organs[tracer] is None and (fed or without_organs):
            for member in fed:
                if member.network.needs("organ classes", tracer):
                    remedy = "add TotalSegmentator's map, or choose a recipe without organ classes"
                    raise InputError(study.pet.path.parent, f"no organ map, and {member.name} needs one", remedy)
            effects = ["the network sees no organs"] * bool(fed) + list(without_organs)
            fallbacks.append(f"no {tracer.upper()} organ map: {', '.join(effects)}")
        wanting = [member for member in members if member.network.needs("ct", tracer)]
        cts[tracer] = study.read_ct() if wanting else None
        if wanting and cts[tracer] is None:
            remedy = "add the CT, or choose a recipe that sees none"
            raise InputError(study.pet.path.parent, f"no CT, and {wanting[0].name} needs one", remedy)
    return Companions(organs, cts)


def note_formats(case: Case, networks: Sequence[NetworkConfig | ModelConfig], fallbacks: list[str]) -> None:
    """Say of every file that is read for these networks where its format left something open."""
    for tracer in Tracer:
        study = case.study(tracer)
        ct = study.ct if any(network.needs("ct", tracer) for network in networks) else None
        for what, file in (("PET", study.pet), ("organ map", study.organs), ("CT", ct)):
            if file is not None and file.unsaid_position is not None:
                fallbacks.append(f"{tracer.upper()} {what}: {file.unsaid_position}")
