"""Rows of the page's tables: figures as texts."""

from __future__ import annotations

import base64
from typing import Any

from deeppsma.core.tracer import Tracer
from deeppsma.reporting.content import ReportContent
from deeppsma.reporting.figures import BLACK_SUV, encoded, projections, thumbnail
from deeppsma.reporting.lesion_table import Lesion
from deeppsma.reporting.methods import acquisition
from deeppsma.reporting.review import CANDIDATE_OFFSET
from deeppsma.reporting.totals import Amount, Totals
from deeppsma.reporting.viewer.volumes import ViewerVolumes
from deeppsma.reporting.words import number, number_ml

VOLUME_WORDS = {Tracer.PSMA: "PSMA tumour volume", Tracer.FDG: "Metabolic tumour volume"}
UPTAKE_WORDS = {Tracer.PSMA: "PSMA-TL", Tracer.FDG: "TLG"}


def css_class(letter: str) -> str:
    """What a class is called in the style sheet: "?" cannot be."""
    return "Q" if letter == "?" else letter


def thumb(volumes: ViewerVolumes, tracer: Tracer, label: int) -> str:
    """Base64 of a focus' axial cut; "" where the grid shows nothing of it."""
    image = thumbnail(volumes, tracer, label)
    return "" if image is None else base64.b64encode(encoded(image)).decode("ascii")


def miss_rows(content: ReportContent, volumes: ViewerVolumes) -> list[dict[str, Any]]:
    """Possible misses."""
    rows = []
    for tracer in content.result.tracers:
        for nth, c in enumerate((c for c in content.review.candidates if c.tracer is tracer), start=1):
            rows.append(
                {
                    "id": c.id,
                    "place": c.naming.first.text,
                    "note": c.note,
                    "ml": number_ml(c.volume_ml),
                    "max": f"{c.suv_max:.1f}",
                    "thumb": thumb(volumes, tracer, CANDIDATE_OFFSET + nth),
                }
            )
    return rows


def _amount(amount: Amount) -> dict[str, Any]:
    return {
        "ml": number_ml(amount.volume_ml),
        "mean": number(amount.suv_mean),
        "max": number(amount.suv_max),
        "g": f"{amount.total_uptake_g:.1f}",
        "foci": amount.foci,
        "small": amount.small_foci,
    }


def totals_row(content: ReportContent, tracer: Tracer) -> dict[str, Any]:
    """One tracer's card and its tables by region and threshold."""
    sums: Totals = content.totals[tracer]
    liver = "" if sums.liver_suv is None else f"SUV {sums.liver_suv[0]:.1f} \N{PLUS-MINUS SIGN} {sums.liver_suv[1]:.1f}"
    return _amount(sums.whole) | {
        "key": tracer.value,
        "name": tracer.upper(),
        "volume_word": VOLUME_WORDS[tracer],
        "uptake_word": UPTAKE_WORDS[tracer],
        "all_foci": sums.whole.foci + sums.whole.small_foci,
        "components": sums.components,
        "threshold": f"{content.result.scans[tracer].threshold_suv:.2f}",
        "liver": liver,
        "acquisition": acquisition(content, tracer),
        "regions": [{"name": region} | _amount(amount) for region, amount in sums.by_region.items()],
        "rethresholded": [(name, number_ml(ml)) for name, ml in sums.rethresholded_ml.items()],
    }


def viewer_row(content: ReportContent, volumes: ViewerVolumes, tracer: Tracer) -> dict[str, Any]:
    """One tracer's pictures."""
    lesions = content.table.of(tracer)
    largest = "; ".join(f"{x.id} {x.naming.first.text}" for x in lesions[:5])
    said = f"{len(lesions)} foci outlined" + (f", the largest: {largest}." if lesions else ".")
    still = base64.b64encode(encoded(projections(content, volumes, tracer))).decode("ascii")
    threshold = f"{content.result.scans[tracer].threshold_suv:.2f}"
    return {
        "key": tracer.value,
        "name": tracer.upper(),
        "black": f"{BLACK_SUV[tracer]:g}",
        "said": said,
        "still": still,
        "threshold": threshold,
    }


def lesion_row(content: ReportContent, lesion: Lesion, letter: str, order: int) -> dict[str, Any]:
    """One line of the table of lesions."""
    second = lesion.naming.second
    row: dict[str, Any] = {
        "id": lesion.id,
        "order": order,
        "place": lesion.naming.first.text,
        "second": second.text if second is not None else "",
        "ml": number_ml(lesion.volume_ml),
        "ml_value": f"{lesion.volume_ml:.4f}",
        "max": f"{lesion.suv_max:.1f}",
        "max_value": f"{lesion.suv_max:.4f}",
        "mean": f"{lesion.suv_mean:.1f}",
        "peak": f"{lesion.suv_peak:.1f}" + ("*" if lesion.volume_ml < 1 else ""),
        "g": f"{lesion.total_uptake_g:.1f}",
        "g_value": f"{lesion.total_uptake_g:.4f}",
        "letter": letter,
        "css": css_class(letter),
        "why": content.review.reasons.get(lesion.id, ()),
        "p": "\N{EN DASH}" if lesion.probability is None else f"{lesion.probability:.2f}",
    }
    if content.concordance is not None:
        other = content.concordance.counterparts[lesion.id]
        partners = ", ".join(other.partners[:4]) + (", \N{HORIZONTAL ELLIPSIS}" if len(other.partners) > 4 else "")
        row |= {
            "match": other.match.value,
            "group": other.group,
            "partners": partners,
            "match_notes": other.notes,
            "other": number(other.other_suv_max),
        }
    return row


def both_facts(content: ReportContent) -> dict[str, Any]:
    """Volumes by tolerance, and the blood pool; empty with one tracer."""
    found = content.concordance
    if found is None:
        return {"tolerances": [], "tolerance_rows": [], "blood_words": ""}
    rows = []
    for tracer in content.result.tracers:
        other = tracer.other.upper()
        rows.append({"name": f"{tracer.upper()} lesions with {other} disease", "ml": _ml_row(found.shared_ml[tracer])})
        rows.append(
            {"name": f"{tracer.upper()} lesions without {other} disease", "ml": _ml_row(found.single_ml[tracer])}
        )
    blood = ", ".join(
        f"{t.upper()} {'not measured' if (suv := found.blood_suv[t]) is None else f'SUV {suv:.1f}'}"
        for t in content.result.tracers
    )
    return {
        "tolerances": [f"{mm:g}" for mm in next(iter(found.shared_ml.values()))],
        "tolerance_rows": rows,
        "blood_words": f"Blood pool (inside of the aorta): {blood}.",
    }


def _ml_row(by_tolerance: Any) -> list[str]:
    return [number_ml(ml) for ml in by_tolerance.values()]
