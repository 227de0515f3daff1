"""Which tracer a PET shows: by the agent's code, then by text, never by its uptake.

All sources that say anything must agree, and the nuclide must be one that the agent is made with; a contradiction is
refused. An override by the user decides over all of them, and is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deeppsma.core.tracer import Tracer
from deeppsma.io.dicom.agents import Agent, catalogue
from deeppsma.io.dicom.header import Header, tag_of
from deeppsma.io.dicom.injection import nuclide_of

_INFORMATION = "RadiopharmaceuticalInformationSequence"
_AGENT_CODE = "RadiopharmaceuticalCodeSequence"
#: Texts of the whole series that may name the tracer, most exact first.
_TEXTS = ("SeriesDescription", "ProtocolName", "StudyDescription", "RequestedProcedureDescription")
_OVERRIDE = "say which it is: --tracer SERIES=psma or SERIES=fdg"


@dataclass(frozen=True)
class TracerEvidence:
    """What is known of a PET's tracer.

    Parameters
    ----------
    tracer
        None where nothing says it.
    agent, nuclide
        Names, "" where nothing says it.
    evidence
        Which tags said so, for the run report.
    """

    tracer: Tracer | None
    agent: str = ""
    nuclide: str = ""
    evidence: tuple[str, ...] = ()


def identify_tracer(headers: Sequence[Header], override: Tracer | None = None) -> TracerEvidence:
    """Tracer of a PET series.

    Parameters
    ----------
    headers
        Of its slices; the first one's is read, as these are the series' values.
    override
        What the user says; taken as it is.

    Raises
    ------
    InputError
        If sources contradict each other, or the agent is of neither tracer.
    """
    header = headers[0]
    items = header.items(_INFORMATION)
    if override is not None:
        return TracerEvidence(override, evidence=("as the user says",))
    if len(items) > 1:
        raise header.refuse(_INFORMATION, f"holds {len(items)} items", "give a series of one tracer")
    item = items[0] if items else None
    nuclide = nuclide_of(item)[0] if item is not None else None
    named = _named(header, item)
    if not named:
        return TracerEvidence(None, nuclide=nuclide.name if nuclide else "")
    source, agent = named[0]
    for other_source, other in named[1:]:
        if (other.tracer or other.name) != (agent.tracer or agent.name):
            found = f"names {agent.name}, but {tag_of(other_source)} names {other.name}"
            raise header.refuse(source, found, _OVERRIDE)
    if not agent.tracer:
        raise header.refuse(source, f"names {agent.name}, neither PSMA nor FDG", "give the PSMA and the FDG PET")
    if nuclide is not None and nuclide.name not in agent.nuclides:
        made = " or ".join(agent.nuclides)
        found = f"names {agent.name}, made with {made}, but the nuclide is {nuclide.name}"
        raise header.refuse(source, found, _OVERRIDE)
    # A code and its meaning are one tag's: it is named once.
    evidence = tuple(dict.fromkeys(f"{tag_of(source)} names {agent.name}" for source, agent in named))
    return TracerEvidence(Tracer(agent.tracer), agent.name, nuclide.name if nuclide else "", evidence)


def _named(header: Header, item: Header | None) -> list[tuple[str, Agent]]:
    """Sources that name one agent, best first. A text that names several tracers says nothing."""
    known = catalogue()
    found: list[tuple[str, Agent]] = []
    texts: list[tuple[str, str]] = []
    if item is not None:
        codes = item.items(_AGENT_CODE)
        for code in codes:
            agent = known.agent_of_code(known.code_of(code))
            if agent is not None:
                found.append((_AGENT_CODE, agent))
        texts.append(("Radiopharmaceutical", item.text("Radiopharmaceutical")))
        texts += [(_AGENT_CODE, code.text("CodeMeaning")) for code in codes]
    texts += [(keyword, header.text(keyword)) for keyword in _TEXTS]
    for keyword, text in texts:
        agents = known.agents_of_text(text)
        if len(agents) == 1:
            found.append((keyword, agents[0]))
    return found
