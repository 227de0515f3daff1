"""A training's course: CSV files that a resumed run continues, and a picture of them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deeppsma.core.tracer import Tracer

if TYPE_CHECKING:
    from deeppsma.training.validation import Validation

CURVE_NAME, VALIDATION_NAME, PICTURE_NAME = "curve.csv", "validation.csv", "curves.png"
_STEP_COLUMNS = ("step", "loss", "learning_rate", "seconds")
_FIGURES = ("dsc", "false_positive", "false_negative")
_VALIDATION_COLUMNS = ("step", "loss", *(f"{tracer}_{figure}" for tracer in Tracer for figure in _FIGURES))


class Course:
    """Writes a run's loss by step, and its validations.

    Parameters
    ----------
    folder
        Of the run.
    start
        First step to come: rows from there on, which a checkpoint did not
        keep, are dropped.
    """

    def __init__(self, folder: Path, start: int) -> None:
        self._steps, self._validations = folder / CURVE_NAME, folder / VALIDATION_NAME
        _begin(self._steps, _STEP_COLUMNS, start)
        _begin(self._validations, _VALIDATION_COLUMNS, start)

    def add(self, step: int, loss: float, rate: float, seconds: float) -> None:
        """One step."""
        _append(self._steps, [step, f"{loss:.6g}", f"{rate:.6g}", f"{seconds:.3f}"])

    def add_validation(self, step: int, validation: Validation) -> None:
        """A validation after a step."""
        row = [str(step), f"{validation.loss:.6g}"]
        for tracer in Tracer:
            found = validation.by_tracer.get(tracer)
            row += [f"{getattr(found, figure):.6g}" if found else "nan" for figure in _FIGURES]
        _append(self._validations, row)


def hours_of(folder: Path) -> float:
    """Hours that the steps of a run took, all stretches of a resumed run together."""
    return sum(float(row["seconds"]) for row in _rows(folder / CURVE_NAME)) / 3600


def draw_curves(folder: Path) -> Path:
    """Draw a run's course; returns the picture's path.

    Loss by step with its running mean; where cases are held out, their loss,
    DSC by tracer, and false voxels.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    steps, validations = _rows(folder / CURVE_NAME), _rows(folder / VALIDATION_NAME)
    figure = Figure(figsize=(12 if validations else 5, 4), layout="constrained")
    axes = figure.subplots(1, 3 if validations else 1, squeeze=False)[0]
    x, loss = _column(steps, "step"), _column(steps, "loss")
    axes[0].plot(x, loss, color="0.8", linewidth=0.5, label="each step")
    width = max(1, len(loss) // 50)
    axes[0].plot(x[width - 1 :], np.convolve(loss, np.ones(width) / width, "valid"), label=f"mean of {width}")
    if validations:
        x = _column(validations, "step")
        axes[0].plot(x, _column(validations, "loss"), marker=".", label="held-out cases")
        for tracer in Tracer:
            if np.isnan(_column(validations, f"{tracer}_dsc")).all():
                continue  # not this network's
            axes[1].plot(x, _column(validations, f"{tracer}_dsc"), marker=".", label=tracer.upper())
            for name, style in (("false_positive", "-"), ("false_negative", "--")):
                label = f"{tracer.upper()} {name.replace('_', ' ')}"
                axes[2].plot(x, _column(validations, f"{tracer}_{name}"), style, marker=".", label=label)
        axes[1].set(ylabel="DSC, working grid", ylim=(0, 1))
        axes[2].set(ylabel="voxels a sample", yscale="symlog")
    axes[0].set(ylabel="loss", yscale="log")
    for each in axes:
        each.set_xlabel("step")
        each.legend(fontsize="small")
    figure.savefig(folder / PICTURE_NAME, dpi=100)
    return folder / PICTURE_NAME


def _begin(path: Path, columns: Sequence[str], start: int) -> None:
    kept = [list(row.values()) for row in _rows(path) if int(row["step"]) < start] if start else []
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *kept])


def _append(path: Path, row: Sequence[object]) -> None:
    with path.open("a", newline="", encoding="utf-8") as file:
        csv.writer(file).writerow(row)


def _rows(path: Path) -> list[dict[str, str]]:
    """Whole rows; a last one that was cut off does not count."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if None not in row.values() and row["step"].isdigit()]


def _column(rows: Sequence[dict[str, str]], name: str) -> np.ndarray:
    return np.array([float(row[name]) for row in rows])
