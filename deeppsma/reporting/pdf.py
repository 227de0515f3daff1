"""The report on paper: the same content as the page, for the PACS. Fonts are embedded."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from deeppsma.core.errors import ConfigurationError
from deeppsma.core.tracer import Tracer
from deeppsma.reporting.content import BANNER, ReportContent
from deeppsma.reporting.criteria import repeatability
from deeppsma.reporting.figures import CLASS_WORDS, class_letter, encoded, projections
from deeppsma.reporting.methods import footer_line, methods_paragraphs, subtitle
from deeppsma.reporting.promise import SOURCE
from deeppsma.reporting.viewer.volumes import ViewerVolumes, viewer_volumes
from deeppsma.reporting.words import number, number_ml

if TYPE_CHECKING:
    from reportlab.platypus import Flowable

_FONT, _BOLD = "Vera", "VeraBd"
_WIDTH_MM = 182.0
_PICTURE_HIGH_MM = 118.0


def require_reportlab() -> None:
    """Refuse where reportlab is not installed: before the work that a PDF comes after.

    Raises
    ------
    ConfigurationError
        One line that says what to install, or what to leave out.
    """
    try:
        import reportlab  # noqa: F401
    except ImportError:
        remedy = "pip install 'deeppsma[report]', or leave the PDF out: deeppsma report OUT --no-pdf"
        raise ConfigurationError("report.pdf", "the package reportlab is not installed", remedy) from None


def report_pdf(content: ReportContent, volumes: ViewerVolumes | None = None) -> bytes:
    """PDF of a report, A4.

    Parameters
    ----------
    content
        What to say.
    volumes
        What the page's viewer shows, whose projections the PDF shows too; made now if None.

    Raises
    ------
    ConfigurationError
        If reportlab is not installed.
    """
    require_reportlab()
    from reportlab import rl_config
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.units import mm
    from reportlab.platypus import SimpleDocTemplate

    _register_fonts()
    out = io.BytesIO()
    document = SimpleDocTemplate(
        out,
        pagesize=A4,
        leftMargin=14 * mm,
        rightMargin=14 * mm,
        topMargin=16 * mm,
        bottomMargin=18 * mm,
        title=f"{content.result.name}: disease found",
        author="deeppsma",
        subject=BANNER,
        invariant=1,
    )
    if volumes is None:
        volumes = viewer_volumes(content.result, content.table, (), with_ct=False)
    # Plain bytes: text armour is of no use in a file, makes it a quarter larger, and is slow.
    rl_config.useA85 = 0
    document.build(_story(content, volumes), onFirstPage=_stamp, onLaterPages=_stamp)
    return out.getvalue()


def _register_fonts() -> None:
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    for name in (_FONT, _BOLD):
        if name not in pdfmetrics.getRegisteredFontNames():
            pdfmetrics.registerFont(TTFont(name, f"{name}.ttf"))


def _stamp(canvas: Any, document: Any) -> None:
    """On every page: what it is not for, and the page's number."""
    from reportlab.lib.units import mm

    canvas.saveState()
    canvas.setFont(_BOLD, 8)
    canvas.setFillColorRGB(0.48, 0.18, 0)
    canvas.drawString(14 * mm, 10 * mm, f"{BANNER} A physician decides.")
    canvas.setFillColorRGB(0.3, 0.3, 0.3)
    canvas.setFont(_FONT, 8)
    canvas.drawRightString(196 * mm, 10 * mm, f"page {document.page}")
    canvas.restoreState()


def _story(content: ReportContent, volumes: ViewerVolumes) -> list[Flowable]:
    from reportlab.lib.units import mm
    from reportlab.platypus import CondPageBreak

    result = content.result
    kind = "Synthetic patient. " if result.synthetic else ""
    names = " and ".join(tracer.upper() for tracer in result.tracers)
    story = [_text(f"{result.name}: disease found on {names} PET/CT", "title"), _text(kind + subtitle(content))]
    if content.notes:
        story += [_text("What to know about this result", "head"), *(_text(f"- {line}") for line in content.notes)]
    story += [_text("Summary", "head"), _summary(content)]
    story += _pictures(content, volumes)
    story += [_text("What deserves a second look", "head"), *_review(content)]
    story += [_text("Lesions", "head"), *_lesions(content)]
    story += [_text("Totals by region", "head"), _regions(content)]
    if content.concordance is not None:
        story += [_text("Both tracers", "head"), _tolerances(content)]
    story += [_text(f"Draft miTNM ({SOURCE})", "head")]
    story.append(
        _table(["Letter", "Draft", "Evidence"], [[x.letter, x.draft, x.evidence] for x in content.mitnm], (30, 38, 114))
    )
    story.append(_text("Values beside criteria: none of these lines is a verdict", "head"))
    rows = [[c.name, c.value, f"{c.rule}. {c.caveat}", c.source] for c in content.criteria]
    story.append(_table(["Figure", "Here", "Criterion", "Source"], rows, (42, 34, 68, 38)))
    story.append(_text("How much two scans of an unchanged patient differ (95 of 100 pairs by less)", "head"))
    steady = [[r.quantity, f"{r.coefficient_percent:.0f} %", r.source] for r in repeatability()]
    story.append(_table(["Quantity", "Difference", "Source"], steady, (62, 24, 96), numbers=(1,)))
    story += [_text("Methods and provenance", "head"), *(_text(p) for p in methods_paragraphs(content))]
    members = [m for m in result.run_report.get("members", []) if isinstance(m, dict)]
    story += [_text(f"{m.get('name')}: {m.get('what')}; SHA-256 {m.get('sha256')}") for m in members]
    story.append(_text(footer_line(content)))
    # A head needs room for some rows, not for the whole table: that would leave half a sheet white.
    rooms = [[CondPageBreak(35 * mm)] if getattr(x, "style", None) and x.style.name == "head" else [] for x in story]
    return [x for room, x in zip(rooms, story, strict=True) for x in (*room, x)]


def _summary(content: ReportContent) -> Flowable:
    rows = []
    for tracer in content.result.tracers:
        sums = content.totals[tracer]
        liver = "not measured" if sums.liver_suv is None else f"{sums.liver_suv[0]:.1f}"
        rows.append(
            [
                tracer.upper(),
                number_ml(sums.whole.volume_ml),
                number(sums.whole.suv_mean),
                number(sums.whole.suv_max),
                f"{sums.whole.total_uptake_g:.1f}",
                f"{sums.whole.foci} + {sums.whole.small_foci}",
                str(sums.components),
                f"{content.result.scans[tracer].threshold_suv:.2f}",
                liver,
            ]
        )
    head = [
        "Tracer",
        "ml",
        "SUVmean",
        "SUVmax",
        "ml x SUVmean, g",
        "Foci + small",
        "Components",
        "Threshold",
        "Liver SUV",
    ]
    return _table(head, rows, (18, 18, 20, 20, 26, 22, 22, 18, 18), numbers=tuple(range(1, 9)))


def _pictures(content: ReportContent, volumes: ViewerVolumes) -> list[Flowable]:
    from reportlab.lib.units import mm
    from reportlab.platypus import Image, KeepTogether, Table

    cells = []
    for tracer in content.result.tracers:
        picture = projections(content, volumes, tracer)
        wide = _WIDTH_MM / max(2, len(content.result.tracers)) - 4
        shrink = min(_PICTURE_HIGH_MM / picture.height, wide / picture.width)
        size = {"width": picture.width * shrink * mm, "height": picture.height * shrink * mm}
        cells.append(
            [Image(io.BytesIO(encoded(picture)), **size), _text(f"{tracer.upper()}: coronal and sagittal projection")]
        )
    letters = sorted({class_letter(content, lesion.id) for lesion in content.table.lesions})
    key = "; ".join(f"{x}: {CLASS_WORDS[x]}" for x in letters) if content.concordance is not None else ""
    shown = [Table([cells], hAlign="LEFT")]
    return [KeepTogether([*shown, _text(f"Outlines: {key}.")] if key else shown)]


def _review(content: ReportContent) -> list[Flowable]:
    story = []
    rows = [
        [x.id, x.naming.first.text, number_ml(x.volume_ml), f"{x.suv_max:.1f}", "; ".join(content.review.reasons[x.id])]
        for x in content.table.lesions
        if x.id in content.review.reasons
    ]
    if rows:
        story.append(_table(["Focus", "Place", "ml", "SUVmax", "Why"], rows, (16, 58, 14, 18, 76), numbers=(2, 3)))
    else:
        story.append(_text("No finding has one of the reasons that are looked for."))
    missed = [
        [c.id, "; ".join(filter(None, (c.naming.first.text, c.note))), number_ml(c.volume_ml), f"{c.suv_max:.1f}"]
        for c in content.review.candidates
    ]
    if missed:
        story.append(_text("Hot foci that were not called disease (possible misses)", "head"))
        story.append(_table(["Focus", "Near", "ml", "SUVmax"], missed, (20, 110, 24, 28), numbers=(2, 3)))
    if content.review.note:
        story.append(_text(f"{content.review.note}."))
    return story


def _lesions(content: ReportContent) -> list[Flowable]:
    if not content.table.lesions:
        return [_text("No disease was found above the threshold. This is what the networks say; it is no proof.")]
    rows = []
    for x in content.table.lesions:
        other = None if content.concordance is None else content.concordance.counterparts[x.id]
        match = "" if other is None else f"{other.match.value} {other.group}"
        place = x.naming.first.text + (f" (or {x.naming.second.text})" if x.naming.second else "")
        p = "-" if x.probability is None else f"{x.probability:.2f}"
        figures = [f"{v:.1f}" for v in (x.suv_max, x.suv_mean, x.suv_peak, x.total_uptake_g)]
        rows.append([x.id, place, number_ml(x.volume_ml), *figures, match, p])
    head = ["Focus", "Place (second choice)", "ml", "SUVmax", "mean", "peak", "g", "Tracers", "p"]
    return [_table(head, rows, (14, 60, 14, 17, 13, 13, 16, 25, 10), numbers=(2, 3, 4, 5, 6, 8))]


def _regions(content: ReportContent) -> Flowable:
    rows = [
        [
            tracer.upper(),
            region,
            number_ml(a.volume_ml),
            number(a.suv_mean),
            number(a.suv_max),
            f"{a.total_uptake_g:.1f}",
            f"{a.foci} + {a.small_foci}",
        ]
        for tracer in content.result.tracers
        for region, a in content.totals[tracer].by_region.items()
    ]
    head = ["Tracer", "Region", "ml", "SUVmean", "SUVmax", "ml x SUVmean, g", "Foci + small"]
    return _table(
        head, rows or [["no disease found", *[""] * 6]], (30, 40, 20, 22, 22, 28, 20), numbers=(2, 3, 4, 5, 6)
    )


def _tolerances(content: ReportContent) -> Flowable:
    found = content.concordance
    assert found is not None  # noqa: S101 - asked by the caller
    rows = []
    for tracer in Tracer:
        other = tracer.other.upper()
        for word, by_tolerance in (("with", found.shared_ml[tracer]), ("without", found.single_ml[tracer])):
            volumes = [number_ml(ml) for ml in by_tolerance.values()]
            rows.append([f"{tracer.upper()} lesions {word} {other} disease", *volumes])
    head = ["ml of lesions, by tolerance", *(f"{mm:g} mm" for mm in found.shared_ml[Tracer.PSMA])]
    return _table(head, rows, (92, 30, 30, 30), numbers=(1, 2, 3))


def _text(words: str, kind: str = "body") -> Flowable:
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.platypus import Paragraph

    size, font, before = {"title": (15, _BOLD, 0), "head": (11, _BOLD, 8), "body": (8, _FONT, 0)}[kind]
    style = ParagraphStyle(kind, fontName=font, fontSize=size, leading=size * 1.3, spaceBefore=before, spaceAfter=3)
    return Paragraph(escape(words), style)


def _table(
    head: Sequence[str], rows: Sequence[Sequence[str]], widths_mm: Sequence[float], numbers: Sequence[int] = ()
) -> Flowable:
    from reportlab.lib import colors
    from reportlab.lib.enums import TA_RIGHT
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.lib.units import mm
    from reportlab.platypus import Paragraph, Table

    plain = ParagraphStyle("cell", fontName=_FONT, fontSize=7, leading=8.6)
    right = ParagraphStyle("number", parent=plain, alignment=TA_RIGHT)
    bold = ParagraphStyle("cellhead", parent=plain, fontName=_BOLD)
    bold_right = ParagraphStyle("numberhead", parent=bold, alignment=TA_RIGHT)
    cells = [[Paragraph(escape(t), bold_right if i in numbers else bold) for i, t in enumerate(head)]]
    cells += [[Paragraph(escape(str(t)), right if i in numbers else plain) for i, t in enumerate(row)] for row in rows]
    style = [
        ("LINEBELOW", (0, 0), (-1, -1), 0.3, colors.Color(0.8, 0.83, 0.87)),
        ("BACKGROUND", (0, 0), (-1, 0), colors.Color(0.95, 0.96, 0.97)),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("TOPPADDING", (0, 0), (-1, -1), 1.5),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 1.5),
        ("LEFTPADDING", (0, 0), (-1, -1), 2),
        ("RIGHTPADDING", (0, 0), (-1, -1), 2),
    ]
    return Table(cells, [w * mm for w in widths_mm], repeatRows=1, hAlign="LEFT", style=style, spaceAfter=4)
