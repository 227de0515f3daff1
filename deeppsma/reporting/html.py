"""The page: one file that opens by double click, with viewer, tables and review, and loads nothing."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from deeppsma.core.settings import resources_folder
from deeppsma.reporting.content import BANNER, ReportContent
from deeppsma.reporting.criteria import repeatability
from deeppsma.reporting.figures import (
    CLASS_COLOURS,
    CLASS_WORDS,
    class_letter,
)
from deeppsma.reporting.methods import footer_line, methods_paragraphs, subtitle
from deeppsma.reporting.page_rows import both_facts, css_class, lesion_row, miss_rows, thumb, totals_row, viewer_row
from deeppsma.reporting.promise import LETTER_WORDS, SOURCE
from deeppsma.reporting.scatter import scatter_svg
from deeppsma.reporting.viewer.data import viewer_data
from deeppsma.reporting.viewer.volumes import ViewerVolumes, packed, viewer_volumes

_DASHES = {"C": "", "P": "6 3", "F": "2 2", "?": "8 2 2 2"}
#: Findings with a picture in the list of second looks; more are marked in the table.
_MOST_LOOKS = 60


def report_html(content: ReportContent, volumes: ViewerVolumes | None = None) -> str:
    """The page of a report.

    Parameters
    ----------
    content
        What to say.
    volumes
        What the viewer shows: with or without CT, which shows the face. Made now, with CT, if None.

    Returns
    -------
    str
        HTML. Texts from files are escaped; the page runs no script but the viewer's, whose hash its policy names.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    folder = resources_folder() / "report"
    style, script = ((folder / name).read_text(encoding="utf-8") for name in ("style.css", "viewer.js"))
    if volumes is None:
        volumes = viewer_volumes(content.result, content.table, content.review.candidates)
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
        data=Markup(_json_for_script(viewer_data(content, volumes))),  # noqa: S704 - "<" is escaped
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


def _facts(content: ReportContent, volumes: ViewerVolumes) -> dict[str, Any]:
    result, two = content.result, content.concordance is not None
    letters = {lesion.id: class_letter(content, lesion.id) for lesion in content.table.lesions}
    rows = [
        lesion_row(content, lesion, letters[lesion.id], order) for order, lesion in enumerate(content.table.lesions)
    ]
    by_id = {row["id"]: row for row in rows}
    looked_at = [lesion for lesion in content.table.lesions if lesion.id in content.review.reasons]
    shown = "CPF?" if two else "".join(sorted({letters[k] for k in letters}))
    classes = [
        {
            "letter": x,
            "css": css_class(x),
            "words": CLASS_WORDS[x],
            "counts": [sum(letters[lesion.id] == x for lesion in content.table.of(t)) for t in result.tracers],
        }
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
        "totals": [totals_row(content, tracer) for tracer in result.tracers],
        "classes": classes if two else [],
        "notes": content.notes,
        "lesions": rows,
        "looks": [by_id[x.id] | {"thumb": thumb(volumes, x.tracer, x.number)} for x in looked_at[:_MOST_LOOKS]],
        "more_looks": max(0, len(looked_at) - _MOST_LOOKS),
        "misses": miss_rows(content, volumes),
        "review_note": content.review.note,
        "two": two,
        "any_ct": any_ct,
        "any_p": any(lesion.probability is not None for lesion in content.table.lesions),
        "ct_words": "" if any_ct else "There is no CT in this page.",
        "viewer": {
            "spacing": f"{volumes.geometry.spacing_zyx[0]:.1f}",
            "tracers": [viewer_row(content, volumes, tracer) for tracer in result.tracers],
        },
        "key": [
            {
                "letter": x,
                "css": css_class(x),
                "words": CLASS_WORDS[x] if two else "found disease",
                "dash": _DASHES[x],
                "colour": "#{:02x}{:02x}{:02x}".format(*CLASS_COLOURS[x]),
            }
            for x in shown
        ],
        **both_facts(content),
        "mitnm": content.mitnm,
        "letter_words": LETTER_WORDS,
        "mitnm_source": SOURCE,
        "criteria": content.criteria,
        "repeatability": repeatability(),
        "methods": methods_paragraphs(content, volumes.geometry),
        "members": [m for m in result.run_report.get("members", []) if isinstance(m, dict)],
        "footer": footer_line(content).removeprefix("Not for clinical use. "),  # the banner before it says so
    }
