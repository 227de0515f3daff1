"""The page: one file that opens by double click, with viewer, tables and review, and loads nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from typing import Any

from deeppsma.core.settings import resources_folder
from deeppsma.core.tracer import Tracer
from deeppsma.reporting.content import BANNER, ReportContent
from deeppsma.reporting.criteria import repeatability
from deeppsma.reporting.figures import (
    BLACK_SUV,
    CLASS_COLOURS,
    CLASS_WORDS,
    class_letter,
    encoded,
    projections,
    thumbnail,
)
from deeppsma.reporting.lesion_table import Lesion
from deeppsma.reporting.methods import footer_line, methods_paragraphs, subtitle
from deeppsma.reporting.promise import SOURCE
from deeppsma.reporting.review import CANDIDATE_OFFSET
from deeppsma.reporting.scatter import scatter_svg
from deeppsma.reporting.tables import REVIEW_FORMAT
from deeppsma.reporting.totals import Amount, Totals
from deeppsma.reporting.viewer.volumes import CT_LEVELS, SUV_STEP, ViewerVolumes, packed, viewer_volumes

VOLUME_WORDS = {Tracer.PSMA: "PSMA tumour volume", Tracer.FDG: "Metabolic tumour volume"}
UPTAKE_WORDS = {Tracer.PSMA: "PSMA-TL", Tracer.FDG: "TLG"}
_DASHES = {"C": "", "P": "6 3", "F": "2 2", "?": "8 2 2 2"}
#: Findings with a picture in the list of second looks; more are marked in the table.
_MOST_LOOKS = 60


def report_html(content: ReportContent, with_ct: bool = True) -> str:
    """The page of a report.

    Parameters
    ----------
    content
        What to say.
    with_ct
        Whether the CT goes in; it shows the face.

    Returns
    -------
    str
        HTML. Texts from files are escaped; the page runs no script but the viewer's, whose hash its policy names.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    folder = resources_folder() / "report"
    style, script = ((folder / name).read_text(encoding="utf-8") for name in ("style.css", "viewer.js"))
    volumes = viewer_volumes(content.result, content.table, content.review.candidates, with_ct)
    environment = Environment(
        loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined, trim_blocks=False
    )
    page = environment.get_template("page.html")
    return page.render(
        **_facts(content, volumes),
        style=Markup(style),  # noqa: S704 - our own files
        script=Markup(script),  # noqa: S704
        style_hash=Markup(policy_hash(style)),  # noqa: S704 - base64
        script_hash=Markup(policy_hash(script)),  # noqa: S704
        scatter=Markup(scatter_svg(content)) if content.concordance is not None else "",  # noqa: S704 - escaped there
        data=Markup(_json_for_script(_viewer_data(content, volumes))),  # noqa: S704 - "<" is escaped
        volumes=[(name, Markup(text)) for name, text in _packed_volumes(volumes)],  # noqa: S704 - base64
    )


def policy_hash(text: str) -> str:
    """What a page's content policy calls a style or a script that it allows."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _json_for_script(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _packed_volumes(volumes: ViewerVolumes) -> list[tuple[str, str]]:
    return [
        (f"{kind}-{tracer.value}", packed(array))
        for kind, arrays in (("pet", volumes.pet), ("ct", volumes.ct), ("labels", volumes.labels))
        for tracer, array in arrays.items()
    ]


def _viewer_data(content: ReportContent, volumes: ViewerVolumes) -> dict[str, Any]:
    grid = volumes.geometry
    home = content.result.tracers[0]

    def voxel(tracer: Tracer, point: tuple[float, float, float]) -> list[int]:
        import numpy as np

        world = np.array([point])
        if tracer is not home:
            world = content.result.transform(tracer).apply(world)
        index = np.rint(grid.world_to_index(world))[0]
        return [int(min(max(i, 0), n - 1)) for i, n in zip(index, grid.shape_zyx, strict=True)]

    candidates: list[dict[str, Any]] = []
    for tracer in content.result.tracers:
        mine = [c for c in content.review.candidates if c.tracer is tracer]
        candidates += [
            {
                "id": c.id,
                "tracer": tracer.value,
                "number": CANDIDATE_OFFSET + number,
                "voxel": voxel(tracer, c.hottest_xyz_mm),
                "ml": round(c.volume_ml, 4),
                "g": round(c.volume_ml * c.suv_mean, 4),
                "max": round(c.suv_max, 3),
                "class": "x",
                "text": f"not called disease, near {c.naming.first.text}",
            }
            for number, c in enumerate(mine, start=1)
        ]
    return {
        "grid": {"shape": list(grid.shape_zyx), "spacing_mm": grid.spacing_zyx[0]},
        "suv_step": SUV_STEP,
        "ct_levels": CT_LEVELS,
        "candidate_offset": CANDIDATE_OFFSET,
        "tracers": [
            {
                "key": t.value,
                "name": t.upper(),
                "black": BLACK_SUV[t],
                "threshold": round(content.result.scans[t].threshold_suv, 3),
            }
            for t in content.result.tracers
        ],
        "lesions": [
            {
                "id": lesion.id,
                "tracer": lesion.tracer.value,
                "number": lesion.number,
                "voxel": voxel(lesion.tracer, lesion.hottest_xyz_mm),
                "ml": round(lesion.volume_ml, 4),
                "g": round(lesion.total_uptake_g, 4),
                "max": round(lesion.suv_max, 3),
                "class": class_letter(content, lesion.id),
                "text": lesion.naming.first.text,
            }
            for lesion in content.table.lesions
        ],
        "candidates": candidates,
        "review": {
            "format": REVIEW_FORMAT,
            "case": content.result.name,
            "masks_sha256": {t.value: content.result.scans[t].mask_sha256 for t in content.result.tracers},
        },
    }


def _facts(content: ReportContent, volumes: ViewerVolumes) -> dict[str, Any]:
    result, two = content.result, content.concordance is not None
    letters = {lesion.id: class_letter(content, lesion.id) for lesion in content.table.lesions}
    rows = [
        _lesion_row(content, lesion, letters[lesion.id], order) for order, lesion in enumerate(content.table.lesions)
    ]
    by_id = {row["id"]: row for row in rows}
    looked_at = [lesion for lesion in content.table.lesions if lesion.id in content.review.reasons]
    shown = "CPF?" if two else "".join(sorted({letters[k] for k in letters}))
    classes = [
        {"letter": x, "css": _css(x), "words": CLASS_WORDS[x], "count": sum(v == x for v in letters.values())}
        for x in "CPF?"
    ]
    sections = [("summary", "Summary"), ("viewer", "Images"), ("review", "Second look"), ("lesions", "Lesions"),
                ("totals", "By region")]  # fmt: skip
    sections += [("both", "Both tracers")] if two else []
    sections += [("staging", "miTNM, criteria"), ("methods", "Methods")]
    any_ct = bool(volumes.ct)
    return {
        "banner": BANNER,
        "name": result.name,
        "synthetic": result.synthetic,
        "subtitle": subtitle(content),
        "tracer_names": [tracer.upper() for tracer in result.tracers],
        "sections": sections,
        "totals": [_totals_row(content, tracer) for tracer in result.tracers],
        "classes": classes if two else [],
        "notes": content.notes,
        "lesions": rows,
        "looks": [by_id[x.id] | {"thumb": _thumb(volumes, x.tracer, x.number)} for x in looked_at[:_MOST_LOOKS]],
        "more_looks": max(0, len(looked_at) - _MOST_LOOKS),
        "misses": _miss_rows(content, volumes),
        "review_note": content.review.note,
        "two": two,
        "any_ct": any_ct,
        "any_p": any(lesion.probability is not None for lesion in content.table.lesions),
        "ct_words": "" if any_ct else "There is no CT in this page.",
        "viewer": {
            "spacing": f"{volumes.geometry.spacing_zyx[0]:.1f}",
            "tracers": [_viewer_row(content, volumes, tracer) for tracer in result.tracers],
        },
        "key": [
            {
                "letter": x,
                "css": _css(x),
                "words": CLASS_WORDS[x] if two else "found disease",
                "dash": _DASHES[x],
                "colour": "#{:02x}{:02x}{:02x}".format(*CLASS_COLOURS[x]),
            }
            for x in shown
        ],
        **_both_facts(content),
        "mitnm": content.mitnm,
        "mitnm_source": SOURCE,
        "criteria": content.criteria,
        "repeatability": repeatability(),
        "methods": methods_paragraphs(content, volumes.geometry),
        "members": [m for m in result.run_report.get("members", []) if isinstance(m, dict)],
        "footer": footer_line(content),
    }


def _css(letter: str) -> str:
    return "Q" if letter == "?" else letter


def _thumb(volumes: ViewerVolumes, tracer: Tracer, label: int) -> str:
    image = thumbnail(volumes, tracer, label)
    return "" if image is None else base64.b64encode(encoded(image)).decode("ascii")


def _miss_rows(content: ReportContent, volumes: ViewerVolumes) -> list[dict[str, Any]]:
    rows = []
    for tracer in content.result.tracers:
        for number, c in enumerate((c for c in content.review.candidates if c.tracer is tracer), start=1):
            rows.append(
                {
                    "id": c.id,
                    "place": c.naming.first.text,
                    "ml": number_ml(c.volume_ml),
                    "max": f"{c.suv_max:.1f}",
                    "thumb": _thumb(volumes, tracer, CANDIDATE_OFFSET + number),
                }
            )
    return rows


def number_ml(volume_ml: float) -> str:
    """Volume in ml with one decimal; never "0.0" of something."""
    return "< 0.1" if 0 < volume_ml < 0.05 else f"{volume_ml:.1f}"


def number(value: float, digits: int = 1) -> str:
    """A figure, or a dash where there is none."""
    return "\N{EN DASH}" if math.isnan(value) or math.isinf(value) else f"{value:.{digits}f}"


def _amount(amount: Amount) -> dict[str, Any]:
    return {
        "ml": number_ml(amount.volume_ml),
        "mean": number(amount.suv_mean),
        "max": number(amount.suv_max),
        "g": f"{amount.total_uptake_g:.1f}",
        "foci": amount.foci,
        "small": amount.small_foci,
    }


def _totals_row(content: ReportContent, tracer: Tracer) -> dict[str, Any]:
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
        "regions": [{"name": region} | _amount(amount) for region, amount in sums.by_region.items()],
        "rethresholded": [(name, number_ml(ml)) for name, ml in sums.rethresholded_ml.items()],
    }


def _viewer_row(content: ReportContent, volumes: ViewerVolumes, tracer: Tracer) -> dict[str, Any]:
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


def _lesion_row(content: ReportContent, lesion: Lesion, letter: str, order: int) -> dict[str, Any]:
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
        "css": _css(letter),
        "why": content.review.reasons.get(lesion.id, ()),
        "p": "" if lesion.probability is None else f"{lesion.probability:.2f}",
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


def _both_facts(content: ReportContent) -> dict[str, Any]:
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
        "blood_words": f"Blood pool (aorta, eroded): {blood}.",
    }


def _ml_row(by_tolerance: Any) -> list[str]:
    return [number_ml(ml) for ml in by_tolerance.values()]
