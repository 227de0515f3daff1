"""Figures as a reader sees them: page, PDF and draft say the same of the same amount."""

from __future__ import annotations

import math


def number_ml(volume_ml: float) -> str:
    """Volume in ml with one decimal; never "0.0" of something."""
    return "< 0.1" if 0 < volume_ml < 0.05 else f"{volume_ml:.1f}"


def number(value: float, digits: int = 1) -> str:
    """A figure, or a dash where there is none."""
    return "\N{EN DASH}" if math.isnan(value) or math.isinf(value) else f"{value:.{digits}f}"
