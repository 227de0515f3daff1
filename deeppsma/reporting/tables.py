"""The same figures as files for other programs: ``lesions.csv`` and ``report.json``."""

from __future__ import annotations

import csv
import io
import math
from typing import Any

from deeppsma.core.tracer import Tracer
from deeppsma.reporting.content import BANNER, ReportContent
from deeppsma.reporting.lesion_table import Lesion
from deeppsma.reporting.methods import methods_paragraphs
from deeppsma.reporting.totals import Amount

REPORT_FORMAT, REVIEW_FORMAT = "deeppsma-report-1", "deeppsma-review-1"
CSV_COLUMNS = (
    "id", "tracer", "kind", "name", "side", "level", "region", "second_choice", "voxels", "volume_ml", "suv_max",
    "suv_mean", "suv_peak", "total_uptake_g", "small", "at_border", "probability", "match", "group", "partners",
    "other_suv_max", "centre_x_mm", "centre_y_mm", "centre_z_mm", "second_look", "notice",
)  # fmt: skip


def lesion_rows(content: ReportContent) -> list[dict[str, Any]]:
    """One row a lesion, plain values; None where there is none."""
    return [_row(content, lesion) for lesion in content.table.lesions]


def lesions_csv(content: ReportContent) -> str:
    """All lesions as CSV (RFC 4180, UTF-8); an empty cell is a missing value."""
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    for row in lesion_rows(content):
        writer.writerow({key: _cell(value) for key, value in row.items()})
    return out.getvalue()


def report_json(content: ReportContent) -> dict[str, Any]:
    """The whole report as JSON values."""
    result, found = content.result, content.concordance
    return {
        "format": REPORT_FORMAT,
        "notice": BANNER,
        "case": result.name,
        "synthetic": result.synthetic,
        "masks_sha256": {t.value: result.scans[t].mask_sha256 for t in result.tracers},
        "thresholds_suv": {t.value: result.scans[t].threshold_suv for t in result.tracers},
        "notes": list(content.notes),
        "totals": {t.value: _totals(content, t) for t in result.tracers},
        "lesions": lesion_rows(content),
        "possible_misses": [
            {
                "id": c.id,
                "tracer": c.tracer.value,
                "near": c.naming.first.text,
                "volume_ml": c.volume_ml,
                "suv_max": c.suv_max,
                "suv_mean": c.suv_mean,
                "hottest_xyz_mm": list(c.hottest_xyz_mm),
                "removed_at_probability": c.removed_at,
            }
            for c in content.review.candidates
        ],
        "possible_misses_note": content.review.note,
        "concordance": None
        if found is None
        else {
            "with_other_tracer_ml": {
                t.value: {f"{mm:g} mm": v for mm, v in x.items()} for t, x in found.shared_ml.items()
            },
            "alone_ml": {t.value: {f"{mm:g} mm": v for mm, v in x.items()} for t, x in found.single_ml.items()},
            "blood_pool_suv": {t.value: v for t, v in found.blood_suv.items()},
        },
        "draft_mitnm": [{"letter": x.letter, "draft": x.draft, "evidence": x.evidence} for x in content.mitnm],
        "criteria": [
            {"name": c.name, "value": c.value, "rule": c.rule, "source": c.source, "caveat": c.caveat}
            for c in content.criteria
        ],
        "methods": methods_paragraphs(content),
    }


def _row(content: ReportContent, lesion: Lesion) -> dict[str, Any]:
    name, second = lesion.naming.first, lesion.naming.second
    other = content.concordance.counterparts[lesion.id] if content.concordance is not None else None
    x, y, z = lesion.centre_xyz_mm
    return {
        "id": lesion.id,
        "tracer": lesion.tracer.value,
        "kind": name.kind,
        "name": name.name,
        "side": name.side,
        "level": name.level,
        "region": name.region,
        "second_choice": second.text if second is not None else None,
        "voxels": lesion.voxels,
        "volume_ml": lesion.volume_ml,
        "suv_max": lesion.suv_max,
        "suv_mean": lesion.suv_mean,
        "suv_peak": lesion.suv_peak,
        "total_uptake_g": lesion.total_uptake_g,
        "small": lesion.small,
        "at_border": lesion.at_border,
        "probability": lesion.probability,
        "match": None if other is None else other.match.value,
        "group": None if other is None else other.group,
        "partners": None if other is None else " ".join(other.partners),
        "other_suv_max": None if other is None or math.isnan(other.other_suv_max) else other.other_suv_max,
        "centre_x_mm": x,
        "centre_y_mm": y,
        "centre_z_mm": z,
        "second_look": "; ".join(content.review.reasons.get(lesion.id, ())),
        "notice": BANNER,
    }


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else value


def _totals(content: ReportContent, tracer: Tracer) -> dict[str, Any]:
    sums = content.totals[tracer]
    return {
        "all": _amount(sums.whole),
        "by_region": {region: _amount(amount) for region, amount in sums.by_region.items()},
        "components": sums.components,
        "rethresholded_ml": dict(sums.rethresholded_ml),
        "liver_suv": None if sums.liver_suv is None else {"mean": sums.liver_suv[0], "sd": sums.liver_suv[1]},
    }


def _amount(amount: Amount) -> dict[str, Any]:
    return {
        "volume_ml": amount.volume_ml,
        "suv_mean": None if math.isnan(amount.suv_mean) else amount.suv_mean,
        "suv_max": None if math.isnan(amount.suv_max) else amount.suv_max,
        "total_uptake_g": amount.total_uptake_g,
        "foci": amount.foci,
        "small_foci": amount.small_foci,
    }
