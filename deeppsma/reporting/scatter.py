"""PSMA uptake against FDG uptake, lesion by lesion: a drawing for the page."""

from __future__ import annotations

import math
from html import escape

from deeppsma.core.tracer import Tracer
from deeppsma.reporting.content import ReportContent
from deeppsma.reporting.figures import CLASS_COLOURS, class_letter

_SIZE, _LEFT, _BOTTOM, _LOW, _HIGH = 420, 48, 44, 0.5, 100.0
_TICKS = (0.5, 1, 2, 5, 10, 20, 50, 100)
_LABELLED = 15
#: Room that a number takes.
_LABEL_PX = (24.0, 11.0)


def scatter_svg(content: ReportContent) -> str:
    """SVG of all lesions of both tracers; logarithmic axes. A pair of one place is drawn from both tracers' sides."""
    if content.concordance is None:
        raise ValueError("a scatter needs both tracers")
    thresholds = {t: content.result.scans[t].threshold_suv for t in Tracer}
    parts = [
        f'<svg viewBox="0 0 {_SIZE} {_SIZE}" width="{_SIZE}" height="{_SIZE}" role="img" '
        'aria-label="Scatter of PSMA SUVmax against FDG SUVmax; the table of lesions has the same figures">',
        f'<rect x="{_LEFT}" y="10" width="{_SIZE - _LEFT - 10}" height="{_SIZE - _BOTTOM - 10}" fill="none" '
        'stroke="#8c959f"/>',
    ]
    for tick in _TICKS:
        x, y = _x(tick), _y(tick)
        parts.append(f'<text x="{x:.0f}" y="{_SIZE - _BOTTOM + 16}" text-anchor="middle">{tick:g}</text>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.0f}" text-anchor="end">{tick:g}</text>')
    x, y = _x(thresholds[Tracer.PSMA]), _y(thresholds[Tracer.FDG])
    dashed = 'stroke="#57606a" stroke-dasharray="4 4"'
    parts.append(f'<line x1="{x:.1f}" y1="10" x2="{x:.1f}" y2="{_SIZE - _BOTTOM}" {dashed}/>')
    parts.append(f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_SIZE - 10}" y2="{y:.1f}" {dashed}/>')
    placed: list[tuple[float, float]] = []
    labelled = {lesion.id for t in Tracer for lesion in content.table.of(t)[:_LABELLED]}
    for lesion in sorted(content.table.lesions, key=lambda each: -each.volume_ml):
        other = content.concordance.counterparts[lesion.id].other_suv_max
        if math.isnan(other):
            continue
        psma, fdg = (lesion.suv_max, other) if lesion.tracer is Tracer.PSMA else (other, lesion.suv_max)
        letter = class_letter(content, lesion.id)
        colour = "#{:02x}{:02x}{:02x}".format(*CLASS_COLOURS[letter])
        radius = min(16.0, 2.5 + 1.8 * math.sqrt(lesion.volume_ml))
        title = escape(f"{lesion.id} {lesion.naming.first.text}: PSMA {psma:.1f}, FDG {fdg:.1f}")
        parts.append(
            f'<circle cx="{_x(psma):.1f}" cy="{_y(fdg):.1f}" r="{radius:.1f}" fill="{colour}" fill-opacity="0.35" '
            f'stroke="{colour}"><title>{title}</title></circle>'
        )
        left, low = _x(psma) + radius, _y(fdg) - 2
        # None on top of another: the larger lesion comes first.
        free = all(abs(left - x) > _LABEL_PX[0] or abs(low - y) > _LABEL_PX[1] for x, y in placed)
        if lesion.id in labelled and free:
            placed.append((left, low))
            parts.append(f'<text x="{left:.1f}" y="{low:.1f}">{escape(lesion.id)}</text>')
    parts.append(f'<text x="{(_SIZE + _LEFT) / 2:.0f}" y="{_SIZE - 8}" text-anchor="middle">PSMA SUVmax</text>')
    middle = (_SIZE - _BOTTOM) / 2
    parts.append(
        f'<text x="12" y="{middle:.0f}" text-anchor="middle" transform="rotate(-90 12 {middle:.0f})">FDG SUVmax</text>'
    )
    return "".join([*parts, "</svg>"])


def _share(suv: float) -> float:
    return math.log(min(max(suv, _LOW), _HIGH) / _LOW) / math.log(_HIGH / _LOW)


def _x(suv: float) -> float:
    return _LEFT + _share(suv) * (_SIZE - _LEFT - 10)


def _y(suv: float) -> float:
    return _SIZE - _BOTTOM - _share(suv) * (_SIZE - _BOTTOM - 10)
