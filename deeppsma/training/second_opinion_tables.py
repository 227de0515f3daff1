"""What the second opinion's cross-validation says, as a card's figures and as tables to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deeppsma.core.tracer import Tracer
from deeppsma.postprocessing.second_opinion.decide import Role, SecondOpinion
from deeppsma.training.fit_second_opinion import CaseFigures
from deeppsma.training.focus_calibration import (
    Judged,
    by_size,
    calibration_error,
    calibration_interval,
    open_to_doubt,
)

_ROLES = {
    Role.DECIDES: "decides",
    Role.REMOVES: "removes foci, adds none",
    Role.SAYS: "gives probabilities alone",
}

#: A mask's title, and its figures by case.
Row = tuple[str, list[CaseFigures]]


@dataclass(frozen=True)
class TracerFit:
    """One tracer's model, and what cross-validation says of it.

    Parameters
    ----------
    model
        Fitted on all patients.
    rows
        Of the masks.
    judged
        Probabilities out of fold.
    ablations
        The mask once more, without a group of features.
    """

    model: SecondOpinion
    rows: tuple[Row, ...]
    judged: Judged
    ablations: tuple[Row, ...]


def card_figures(rows: Sequence[Row], judged: Judged) -> dict[str, Any]:
    """The figures that a card keeps, by title of the mask; JSON values."""
    low, high = calibration_interval(open_to_doubt(judged))
    out: dict[str, Any] = {
        title: {
            "mean_dsc": round(float(np.mean([f.dsc for f in each])), 4),
            "median_dsc": round(float(np.median([f.dsc for f in each])), 4),
            "fpv_ml": round(float(np.mean([f.fpv_ml for f in each])), 2),
            "fnv_ml": round(float(np.mean([f.fnv_ml for f in each])), 2),
            "lesions_found": sum(f.found for f in each),
            "lesions": sum(f.lesions for f in each),
        }
        for title, each in rows
    }
    out["calibration_error"] = round(calibration_error(open_to_doubt(judged)), 4)
    out["calibration_error_95"] = [round(low, 4), round(high, 4)]
    return out


def tables_text(fits: Mapping[Tracer, TracerFit], trained_on: str) -> str:
    """Tables of both tracers, in Markdown."""
    parts = [
        f"# Second opinion, cross-validated\n\nFitted on {trained_on}. No figure here says anything about real ones."
    ]
    for tracer, fit in fits.items():
        lines = [
            f"## {tracer.upper()}: {_ROLES[fit.model.role]}, offset {fit.model.offset:g}, "
            f"weight of the network within a focus {fit.model.within:g}",
            "",
            *_table("mask", fit.rows),
        ]
        low, high = calibration_interval(open_to_doubt(fit.judged))
        error = calibration_error(open_to_doubt(fit.judged))
        lines += [
            "",
            f"Calibration error of foci of 2 % and more: {error:.3f} ({low:.3f} to {high:.3f} by patients); by size:",
        ]
        lines += ["", "| foci | how many | disease | calibration error |", "| --- | ---: | ---: | ---: |"]
        for name, some in by_size(open_to_doubt(fit.judged)).items():
            lines.append(
                f"| {name} | {len(some.disease)} | {int(some.disease.sum())} | {calibration_error(some):.3f} |"
            )
        if fit.ablations:
            lines += ["", *_table("without", fit.ablations)]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _table(head: str, rows: Sequence[Row]) -> list[str]:
    lines = [f"| {head} | DSC mean | median | FPV, ml | FNV, ml | lesions found |"]
    lines.append("| --- | ---: | ---: | ---: | ---: | ---: |")
    for title, each in rows:
        dsc = [f.dsc for f in each]
        means = (np.mean(dsc), np.median(dsc), np.mean([f.fpv_ml for f in each]), np.mean([f.fnv_ml for f in each]))
        found = f"{sum(f.found for f in each)} of {sum(f.lesions for f in each)}"
        lines.append(f"| {title} | {means[0]:.3f} | {means[1]:.3f} | {means[2]:.1f} | {means[3]:.1f} | {found} |")
    return lines
