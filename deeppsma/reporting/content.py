"""Everything that a report says of a case, computed once; page, PDF, CSV and JSON are written from it."""

from __future__ import annotations

from dataclasses import dataclass

from deeppsma.core.tracer import Tracer
from deeppsma.reporting.case_result import CaseResult
from deeppsma.reporting.concordance import Concordance, concordance
from deeppsma.reporting.criteria import Criterion, criteria
from deeppsma.reporting.lesion_table import LesionTable, anatomy_maps, lesion_table
from deeppsma.reporting.promise import Letter, draft_mitnm
from deeppsma.reporting.review import Review, review
from deeppsma.reporting.totals import Totals, totals

#: Stands on every page, on paper too.
BANNER = "Synthetic-trained weights. Not for clinical use."
#: So many small foci, and this share of all, look like noise and not like disease.
_MANY_SMALL, _SMALL_SHARE = 20, 0.5


@dataclass(frozen=True)
class ReportContent:
    """A report's content.

    Parameters
    ----------
    result
        What it is made from.
    table, concordance, totals, review, mitnm, criteria
        What the modules of those names say; ``concordance`` is None with one tracer.
    notes
        What could not be done or was done otherwise, one line each.
    """

    result: CaseResult
    table: LesionTable
    concordance: Concordance | None
    totals: dict[Tracer, Totals]
    review: Review
    mitnm: tuple[Letter, ...]
    criteria: tuple[Criterion, ...]
    notes: tuple[str, ...]


def report_content(result: CaseResult) -> ReportContent:
    """Compute a report."""
    maps = anatomy_maps(result)
    table = lesion_table(result, maps_of_organs=maps)
    found = concordance(result, table)
    sums = totals(result, table)
    psma = result.scans.get(Tracer.PSMA)
    looks = review(result, table, found, maps)
    mitnm = draft_mitnm(table, sums, psma is not None and psma.organs is not None, looks.candidates)
    return ReportContent(
        result,
        table,
        found,
        sums,
        looks,
        mitnm,
        criteria(table, sums, found, mitnm),
        notes(result, table, sums),
    )


def notes(result: CaseResult, table: LesionTable, sums: dict[Tracer, Totals]) -> tuple[str, ...]:
    """Gaps and fallbacks of the run and of the report, one line each."""
    lines = [str(line) for line in result.run_report.get("fallbacks", [])]
    for tracer in Tracer:
        name = tracer.upper()
        if tracer not in result.scans:
            lines.append(f"No {name} result: everything that needs both tracers is missing.")
            continue
        scan = result.scans[tracer]
        if scan.organs is None:
            lines.append(f"No organ map with the {name} PET: foci are unnamed, liver and blood are not measured.")
        elif sums[tracer].liver_suv is None:
            lines.append(f"No liver in the {name} organ map, or too little of it: liver uptake is not measured.")
        if scan.ct is None:
            lines.append(f"No CT with the {name} PET: the viewer shows PET alone.")
        amount = sums[tracer].whole
        all_foci = amount.foci + amount.small_foci
        if amount.small_foci >= _MANY_SMALL and amount.small_foci > _SMALL_SHARE * all_foci:
            small_ml = sum(lesion.volume_ml for lesion in table.of(tracer) if lesion.small)
            lines.append(
                f"{amount.small_foci} of {all_foci} {name} foci are small (together {small_ml:.1f} of "
                f"{amount.volume_ml:.1f} ml). So many specks may be noise or marrow: trust no count or letter that "
                "rests on them, and look at the images first."
            )
        at_border = [lesion.id for lesion in table.of(tracer) if lesion.at_border]
        if at_border:
            lines.append(f"Cut by the end of the {name} scan: {', '.join(at_border)}.")
    if all(lesion.probability is None for lesion in table.lesions):
        lines.append("No probability of disease for single foci: this run's recipe gives none.")
    return tuple(lines)
