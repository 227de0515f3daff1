"""Tables in the CDS report's form, each row beside the report's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from deeppsma.core.errors import ConfigurationError
from deeppsma.core.settings import read_toml
from deeppsma.core.tracer import Tracer
from deeppsma.evaluation.scoring import CohortScores

#: The report's columns by tracer, in its order: field of `Scores`, title, digits.
_COLUMNS = {
    Tracer.FDG: (
        ("dsc", "DSC", 3),
        ("surface_dsc", "surface DSC", 3),
        ("fpv_ml", "FPV", 1),
        ("fnv_ml", "FNV", 1),
        ("volume_error_percent", "ΔMTV, %", 1),
    ),
    Tracer.PSMA: (
        ("dsc", "DSC", 3),
        ("surface_dsc", "surface DSC", 3),
        ("fpv_ml", "FPV", 1),
        ("fnv_ml", "FNV", 1),
        ("suv_mean_error_percent", "ΔSUVmean, %", 1),
    ),
}

#: Mean figures of a row, by tracer, in the columns' order; a missing last one is empty.
Row = Mapping[Tracer, Sequence[float]]


def reported(table: str) -> dict[str, Row]:
    """Rows of one of the report's tables: "folds", "postprocessing" or "unseen".

    Raises
    ------
    ConfigurationError
        If the file with the report's figures is damaged.
    """
    path, content = read_toml("experiments", "cds_report")
    try:
        return {
            name: {tracer: tuple(map(float, row[tracer.value])) for tracer in _COLUMNS}
            for name, row in content[table].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigurationError(path, f"no table {table} ({error})", "copy the file again") from None


def means(scores: CohortScores) -> Row:
    """Mean figures of a method over a cohort."""
    return {
        tracer: [float(np.mean([getattr(each, field) for each in scores[tracer]])) for field, _, _ in columns]
        for tracer, columns in _COLUMNS.items()
    }


def beside_the_report(ours: Mapping[str, Row], theirs: Mapping[str, Row], patients: Mapping[str, str]) -> str:
    """Markdown: each of our rows with the report's below it.

    Parameters
    ----------
    ours, theirs
        Rows by name.
    patients
        By row: whom our figures were measured on.
    """
    head = ["", "patients", *(f"{t.upper()} {title}" for t, columns in _COLUMNS.items() for _, title, _ in columns)]
    lines = [f"| {' | '.join(head)} |", "| --- | --- " + "| ---: " * (len(head) - 2) + "|"]
    for name, row in ours.items():
        lines.append(_line(name, patients[name], row))
        if name in theirs:
            lines.append(_line("", "*report: real*", theirs[name]))
    return "\n".join(lines)


def orders(ours: Mapping[str, Row], theirs: Mapping[str, Row]) -> str:
    """Sentences: how the rows order by mean DSC, with us and in the report."""
    shared = [name for name in ours if name in theirs]
    sentences = []
    for tracer in _COLUMNS:
        said = []
        for who, rows in (("here", ours), ("in the report", theirs)):
            placed = sorted(shared, key=lambda name, rows=rows: -rows[name][tracer][0])  # type: ignore[misc]
            said.append(f"{who} {' > '.join(placed)}")
        sentences.append(f"{tracer.upper()} by mean DSC: {'; '.join(said)}.")
    return " ".join(sentences)


def _line(name: str, patients: str, row: Row) -> str:
    cells = [name, patients]
    for tracer, columns in _COLUMNS.items():
        for number, (_, _, digits) in enumerate(columns):
            cells.append(f"{row[tracer][number]:.{digits}f}" if number < len(row[tracer]) else "")
    return f"| {' | '.join(cells)} |"
