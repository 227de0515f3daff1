"""Tables of a cohort, made anew from the cases' folders at any time: cases, lesions, what was not done."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from deeppsma.core.errors import OutputError
from deeppsma.core.tracer import Tracer
from deeppsma.core.whole_files import whole_file
from deeppsma.io.result_folder import REPORT_NAME
from deeppsma.operation.cohort.ledger import CaseRecord, Ledger, Outcome
from deeppsma.reporting.report_files import CSV_NAME
from deeppsma.reporting.tables import CSV_COLUMNS as LESION_COLUMNS

CASES_NAME, LESIONS_NAME, FAILURES_NAME = "cases.csv", "lesions.csv", "failures.csv"
_FINDINGS = ("volume_ml", "components", "suv_max", "suv_mean", "threshold_suv")
CASE_COLUMNS = (
    "case", "outcome", "line", *(f"{tracer}_{name}" for tracer in Tracer for name in _FINDINGS), "fallbacks", "notes",
    "recipe", "version", "device", "attempts", "seconds", "cpu_seconds", "peak_memory_mb", "host", "ended", "folder",
    "content", "method_key",
)  # fmt: skip
FAILURE_COLUMNS = ("case", "outcome", "line", "attempts", "host", "ended", "folder")
#: Columns that hold numbers; all others hold text.
_NUMBERS = {
    *(f"{tracer}_{name}" for tracer in Tracer for name in _FINDINGS), "attempts", "seconds", "cpu_seconds",
    "peak_memory_mb", "voxels", "volume_ml", "suv_max", "suv_mean", "suv_peak", "total_uptake_g", "probability",
    "other_suv_max", "centre_x_mm", "centre_y_mm", "centre_z_mm",
}  # fmt: skip
#: A spreadsheet takes a cell that begins so for a formula, and runs it.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class CaseLine:
    """What is known of a case.

    Parameters
    ----------
    name
        Of the case.
    folder
        That it was read from.
    record
        What became of it; None while it is left.
    report
        Its run report, as JSON values; empty if it is not done.
    """

    name: str
    folder: str
    record: CaseRecord | None
    report: dict[str, Any]

    @property
    def outcome(self) -> Outcome:
        """What became of it."""
        return self.record.outcome if self.record is not None else Outcome.LEFT

    def figure(self, tracer: Tracer, name: str) -> Any:
        """A figure of a tracer's mask; None where there is none."""
        return (self.report.get("findings", {}).get(tracer.value) or {}).get(name)

    def row(self) -> dict[str, Any]:
        """A line of ``cases.csv``."""
        record = self.record
        found = {f"{t}_{name}": self.figure(t, name) for t in Tracer for name in _FINDINGS}
        row = {"case": self.name, "outcome": self.outcome.value, "folder": self.folder, **found}
        row["fallbacks"] = "; ".join(self.report.get("fallbacks", ()))
        row["recipe"] = (self.report.get("recipe") or {}).get("name")
        row["version"] = (self.report.get("versions") or {}).get("deeppsma")
        row["peak_memory_mb"] = self.report.get("peak_memory_mb")
        if record is not None:
            names = ("line", "device", "attempts", "seconds", "cpu_seconds", "host", "ended", "content", "method_key")
            row |= {name: getattr(record, name) for name in names} | {"notes": "; ".join(record.notes)}
        return row


def case_lines(ledger: Ledger) -> Iterator[CaseLine]:
    """Every case that was ever asked for, by name.

    Raises
    ------
    InputError
        If no cohort was run there.
    """
    for name, folder in sorted(ledger.asked().cases.items()):
        record = ledger.record(name)
        done = record is not None and record.outcome is Outcome.DONE
        yield CaseLine(name, folder, record, _report(ledger.slot(name)) if done else {})


def write_tables(ledger: Ledger, lines: Iterable[CaseLine]) -> list[Path]:
    """Write the three tables; gives what was written.

    Parameters
    ----------
    ledger
        Of the cohort's folder, which they go to.
    lines
        Its cases.

    Raises
    ------
    OutputError
        If one cannot be written.
    """
    out = ledger.out
    try:
        with ExitStack() as opened:
            add_case = opened.enter_context(_table(out / CASES_NAME, CASE_COLUMNS))
            add_lesion = opened.enter_context(_table(out / LESIONS_NAME, ("case", *LESION_COLUMNS)))
            add_failure = opened.enter_context(_table(out / FAILURES_NAME, FAILURE_COLUMNS))
            for line in lines:
                row = line.row()
                add_case(row)
                if line.outcome is not Outcome.DONE:
                    add_failure(row)
                else:
                    for lesion in _lesions(ledger.slot(line.name)):
                        add_lesion({"case": line.name, **lesion})
        written = [out / name for name in (CASES_NAME, LESIONS_NAME, FAILURES_NAME)]
        if find_spec("pyarrow") is not None:
            written += [_as_parquet(path) for path in written]
    except OSError as error:
        found = f"the tables could not be written ({error.strerror or error})"
        raise OutputError(out, found, "check the folder's free space and rights") from None
    return written


def cell(value: Any) -> Any:
    """A value as a cell: text that a spreadsheet would take for a formula has an apostrophe in front."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS) and not _is_number(value):
        return f"'{value}"
    return value


@contextmanager
def _table(path: Path, columns: tuple[str, ...]) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A CSV (RFC 4180, UTF-8) that appears when it is whole; gives what adds a row to it."""
    with (
        whole_file(path) as partial,
        partial.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\r\n")
        writer.writeheader()

        def add(row: dict[str, Any]) -> None:
            writer.writerow({key: cell(value) for key, value in row.items()})

        yield add


def _report(slot: Path) -> dict[str, Any]:
    try:
        content = json.loads((slot / REPORT_NAME).read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _lesions(slot: Path) -> list[dict[str, str]]:
    try:
        with (slot / CSV_NAME).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except FileNotFoundError:
        return []


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _as_parquet(path: Path) -> Path:
    """The same table for programs: every cohort's has the same types; names stay text, whatever they look like."""
    import pyarrow
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    with path.open(encoding="utf-8", newline="") as file:
        names = next(csv.reader(file))
    types = {name: pyarrow.float64() if name in _NUMBERS else pyarrow.string() for name in names}
    options = arrow_csv.ConvertOptions(column_types=types, strings_can_be_null=True)
    parse = arrow_csv.ParseOptions(newlines_in_values=True)
    target = path.with_suffix(".parquet")
    with whole_file(target) as partial:
        parquet.write_table(arrow_csv.read_csv(path, convert_options=options, parse_options=parse), partial)
    return target
