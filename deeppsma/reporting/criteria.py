"""Values beside published criteria: what a trialist or a tumour board asks for. Never a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from deeppsma.core.errors import ConfigurationError
from deeppsma.core.settings import read_toml
from deeppsma.core.tracer import Tracer
from deeppsma.reporting.concordance import Concordance, Match
from deeppsma.reporting.lesion_table import Lesion, LesionTable
from deeppsma.reporting.promise import Letter
from deeppsma.reporting.totals import Totals
from deeppsma.reporting.words import number_ml

_NOT_ASSESSED = "not assessed"


@dataclass(frozen=True)
class Criterion:
    """A figure beside a published criterion.

    Parameters
    ----------
    name, value
        What, and how much: text with its unit, or "not assessed: ..." with the reason.
    rule, source, caveat
        The criterion as published, where, and why the figure may not answer it.
    """

    name: str
    value: str
    rule: str
    source: str
    caveat: str


@dataclass(frozen=True)
class Repeatability:
    """How much two scans of an unchanged patient differ.

    Parameters
    ----------
    quantity
        Of what.
    coefficient_percent
        Repeatability coefficient: 95 of 100 pairs differ by less.
    source
        Where from.
    """

    quantity: str
    coefficient_percent: float
    source: str


@cache
def _table() -> dict[str, Any]:
    path, content = read_toml("anatomy", "criteria")
    if not {"criterion", "repeatability"} <= set(content):
        raise ConfigurationError(path, "no tables [[criterion]] and [[repeatability]]", "mend the file")
    return content


def repeatability() -> tuple[Repeatability, ...]:
    """Published repeatability coefficients."""
    return tuple(Repeatability(**entry) for entry in _table()["repeatability"])


def criteria(
    table: LesionTable, totals: dict[Tracer, Totals], found: Concordance | None, mitnm: Sequence[Letter] = ()
) -> tuple[Criterion, ...]:
    """Every criterion of the table with this case's figure; ``mitnm`` is the draft."""
    figures = _figures(table, totals, found) | _to_record(totals, mitnm)
    return tuple(
        Criterion(e["name"], figures[e["value"]], e["rule"], e["source"], e["caveat"]) for e in _table()["criterion"]
    )


def _figures(table: LesionTable, totals: dict[Tracer, Totals], found: Concordance | None) -> dict[str, str]:
    psma, fdg = table.of(Tracer.PSMA), table.of(Tracer.FDG)
    out = dict.fromkeys(
        ("psma_highest_suv_max", "psma_at_most_10", "psma_not_above_liver", "psma_suv_mean"),
        f"{_NOT_ASSESSED}: no PSMA result",
    )
    if Tracer.PSMA in totals:
        hottest = max(psma, key=lambda lesion: lesion.suv_max, default=None)
        none = "no PSMA lesion"
        out["psma_highest_suv_max"] = none if hottest is None else f"{hottest.suv_max:.1f} ({hottest.id})"
        out["psma_at_most_10"] = _listed([x for x in psma if x.suv_max <= 10], psma)
        out["psma_suv_mean"] = f"{totals[Tracer.PSMA].whole.suv_mean:.1f}" if psma else none
        liver = totals[Tracer.PSMA].liver_suv
        if liver is None:
            out["psma_not_above_liver"] = f"{_NOT_ASSESSED}: no liver in the organ map"
        else:
            faint = _listed([x for x in psma if x.suv_max <= liver[0]], psma)
            out["psma_not_above_liver"] = f"{faint}; liver {liver[0]:.1f}"
    out["fdg_volume"] = (
        f"{totals[Tracer.FDG].whole.volume_ml:.1f} ml" if Tracer.FDG in totals else f"{_NOT_ASSESSED}: no FDG result"
    )
    out["fdg_without_psma"] = out["discordant_features"] = f"{_NOT_ASSESSED}: needs both tracers"
    if found is not None:
        alone = [x for x in fdg if found.counterparts[x.id].match in (Match.ONLY, Match.BELOW)]
        unjudged = [x for x in fdg if found.counterparts[x.id].match in (Match.UNKNOWN, Match.UNSEGMENTED)]
        out["fdg_without_psma"] = _listed(alone, fdg) + (f"; not judged: {_ids(unjudged)}" if unjudged else "")
        both = [x for x in table.lesions if found.counterparts[x.id].match in (Match.ONLY, Match.BELOW)]
        out["discordant_features"] = _listed(both, table.lesions)
    return out


def _to_record(totals: dict[Tracer, Totals], mitnm: Sequence[Letter]) -> dict[str, str]:
    """What a follow-up and a nomogram ask for; neither is answered here."""
    if Tracer.PSMA not in totals:
        return dict.fromkeys(("psma_to_follow", "ppp2"), f"{_NOT_ASSESSED}: no PSMA result")
    whole = totals[Tracer.PSMA].whole
    small = f", {whole.small_foci} small beside them" if whole.small_foci else ""
    amount = f"{number_ml(whole.volume_ml)} ml; {whole.foci} {'focus' if whole.foci == 1 else 'foci'}{small}"
    drafts = {letter.letter: letter.draft for letter in mitnm}
    letters = [f"{x[2:]} {drafts.get(x, _NOT_ASSESSED)}" for x in ("miM1a", "miM1b", "miM1c")]
    return {"psma_to_follow": amount, "ppp2": f"{'; '.join(letters)}; {amount}; expression score {_NOT_ASSESSED}"}


def _listed(chosen: list[Lesion], of: tuple[Lesion, ...]) -> str:
    volume = sum(lesion.volume_ml for lesion in chosen)
    named = f": {_ids(chosen)}" if chosen else ""
    return f"{len(chosen)} of {len(of)} ({number_ml(volume)} ml){named}"


def _ids(lesions: list[Lesion], most: int = 6) -> str:
    more = f" and {len(lesions) - most} more" if len(lesions) > most else ""
    return ", ".join(lesion.id for lesion in lesions[:most]) + more
