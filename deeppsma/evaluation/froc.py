"""Free-response ROC: lesions found against false ones per patient, as the cutoff falls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deeppsma.core.tracer import Tracer
from deeppsma.evaluation.metrics import LesionCounts

#: Probabilities from which on a voxel is disease.
CUTOFFS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98, 0.99)

#: Of one tracer in one case, by cutoff, in the order of `CUTOFFS`.
CaseCounts = Sequence[LesionCounts]


@dataclass(frozen=True)
class FrocPoint:
    """What a cutoff gives on a cohort.

    Parameters
    ----------
    cutoff
        Probability from which on a voxel is disease.
    sensitivity
        Lesions that the answer touches, as a share of all lesions of all
        patients; 1 where there are none.
    false_per_patient
        Components of the answer that touch no lesion.
    """

    cutoff: float
    sensitivity: float
    false_per_patient: float


def froc(cases: Sequence[CaseCounts]) -> list[FrocPoint]:
    """Curve of a cohort, by rising cutoff.

    Parameters
    ----------
    cases
        Counts of each patient.

    Raises
    ------
    ValueError
        If there is no patient, or one has counts of other cutoffs.
    """
    if not cases:
        raise ValueError("no patients")
    if any(len(counts) != len(CUTOFFS) for counts in cases):
        raise ValueError(f"each patient needs {len(CUTOFFS)} counts")
    points = []
    for cutoff, counts in zip(CUTOFFS, zip(*cases, strict=True), strict=True):
        lesions, found = sum(c.lesions for c in counts), sum(c.found for c in counts)
        false = sum(c.false for c in counts) / len(cases)
        points.append(FrocPoint(cutoff, found / lesions if lesions else 1.0, false))
    return points


def froc_table(curves: Mapping[Tracer, Sequence[FrocPoint]]) -> str:
    """Markdown: a row per cutoff."""
    cells = ["cutoff", *(f"{t.upper()} {what}" for t in Tracer for what in ("lesions found", "false per patient"))]
    lines = [f"| {' | '.join(cells)} |", "| ---: " * len(cells) + "|"]
    for number, cutoff in enumerate(CUTOFFS):
        points = [curves[tracer][number] for tracer in Tracer]
        row = [f"{100 * p.sensitivity:.1f} % | {p.false_per_patient:.2f}" for p in points]
        lines.append(f"| {cutoff:g} | {' | '.join(row)} |")
    return "\n".join(lines)


def draw_froc(curves: Mapping[Tracer, Sequence[FrocPoint]], title: str, path: Path) -> None:
    """Draw the curves of both tracers, the cutoff of 0.5 marked.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.set_xscale("symlog")  # before anything is drawn: limits are of the scale
    for tracer, colour in zip(Tracer, ("tab:blue", "tab:orange"), strict=True):
        points = curves[tracer]
        x, y = [p.false_per_patient for p in points], [100 * p.sensitivity for p in points]
        axes.plot(x, y, marker=".", color=colour, label=tracer.upper())
        middle = CUTOFFS.index(0.5)
        axes.plot(x[middle], y[middle], marker="o", markersize=10, fillstyle="none", color=colour)
    axes.set(xlabel="false components per patient", ylabel="lesions found, %", ylim=(0, 101), title=title)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.legend(title="circle: cutoff 0.5", loc="lower right")
    figure.savefig(path, dpi=100)
