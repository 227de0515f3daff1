"""Small histograms for the summary page: drawings without script."""

from __future__ import annotations

import math
from collections.abc import Sequence

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 360, 130, 8, 22
_BARS = 24


def histogram_svg(values: Sequence[float], label: str, logarithmic: bool = False) -> str:
    """SVG of a distribution.

    Parameters
    ----------
    values
        Finite, not below 0; of none the drawing is empty.
    label
        What is counted, with its unit; plain letters, it goes into the drawing as it is.
    logarithmic
        Whether the axis is that of log(1 + value).
    """
    from html import escape

    title = escape(f"Histogram of {label}, {len(values)} values")
    head = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-label="{title}">'
    if not values:
        return f'{head}<text x="{_LEFT}" y="20">none</text></svg>'
    scale = math.log1p if logarithmic else float
    back = math.expm1 if logarithmic else float
    low, high = scale(min(values)), scale(max(values))
    step = (high - low) / _BARS or 1.0
    counts = [0] * _BARS
    for value in values:
        counts[min(int((scale(value) - low) / step), _BARS - 1)] += 1
    width, room = (_WIDTH - 2 * _LEFT) / _BARS, _HEIGHT - _BOTTOM - 16
    bars = [_bar(n, count, max(counts), width, room, back(low + n * step)) for n, count in enumerate(counts) if count]
    base = _HEIGHT - _BOTTOM
    axis = f'<line x1="{_LEFT}" y1="{base}" x2="{_WIDTH - _LEFT}" y2="{base}" stroke="#57606a"/>'
    middle = back(low + step * _BARS / 2)
    places = [(_LEFT, "start", min(values)), (_WIDTH / 2, "middle", middle), (_WIDTH - _LEFT, "end", max(values))]
    ticks = [f'<text x="{x:.0f}" y="{_HEIGHT - 6}" text-anchor="{a}">{value:.3g}</text>' for x, a, value in places]
    return "".join([head, *bars, axis, *(ticks if high > low else ticks[:1]), "</svg>"])


def _bar(number: int, count: int, most: int, width: float, room: float, start: float) -> str:
    height = max(1.0, count / most * room)
    x, y = _LEFT + number * width, _HEIGHT - _BOTTOM - height
    title = f"<title>{count} from {start:.3g}</title>"
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width - 1:.1f}" height="{height:.1f}" fill="#0061a0">{title}</rect>'
