"""Tables are made anew from the folders, and run nothing in a spreadsheet."""

from __future__ import annotations

import csv
import json

import pytest
from builders.cohorts import REPORT

from deeppsma.cli.commands import main
from deeppsma.core.errors import OutputError
from deeppsma.operation.cohort.ledger import CaseRecord, Ledger, Outcome
from deeppsma.operation.cohort.plan import CohortRequest, CohortSettings
from deeppsma.operation.cohort.tables import CASES_NAME, FAILURES_NAME, LESIONS_NAME, case_lines, cell, write_tables
from deeppsma.reporting.tables import CSV_COLUMNS

_TABLES = (CASES_NAME, LESIONS_NAME, FAILURES_NAME)
EVIL = "=HYPERLINK(1)"


@pytest.fixture
def ledger(tmp_path):
    """One done, one refused, one failed, one left."""
    ledger = Ledger(tmp_path / "out")
    request = CohortRequest(tmp_path / "in", ledger.out, CohortSettings("single"))
    ledger.ask(request, "key", {name: f"in/{name}" for name in ("0001", EVIL, "failed", "left")})
    slot = ledger.slot("0001")
    ledger.write(CaseRecord("0001", Outcome.DONE, method_key="key", seconds=2.5, device="cpu", notes=("a note",)))
    (slot / "run_report.json").write_text(json.dumps(REPORT))
    lesion = dict.fromkeys(CSV_COLUMNS, "") | {"id": "P1", "tracer": "psma", "volume_ml": "-1.5", "name": "@rib"}
    with (slot / "lesions.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, CSV_COLUMNS)
        writer.writeheader()
        writer.writerows([lesion, lesion | {"id": "P2"}])
    ledger.write(CaseRecord(EVIL, Outcome.REFUSED, "+1+cmd|' /C calc'!A0"))
    ledger.write(CaseRecord("failed", Outcome.FAILED, 'a bug: KeyError,\n"x"'))
    return ledger


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_case_is_in_the_tables(ledger):
    write_tables(ledger, case_lines(ledger))
    cases = {row["case"]: row for row in rows(ledger.out / CASES_NAME)}
    assert {name: row["outcome"] for name, row in cases.items()} == {
        "0001": "done", f"'{EVIL}": "refused", "failed": "failed", "left": "left",
    }  # fmt: skip
    done = cases["0001"]
    assert (done["psma_volume_ml"], done["psma_components"], done["fdg_suv_max"]) == ("12.5", "2", "")
    assert (done["seconds"], done["device"], done["notes"]) == ("2.5", "cpu", "a note")
    assert done["fallbacks"] == "CT not used: there is none"
    failures = {row["case"]: row["line"] for row in rows(ledger.out / FAILURES_NAME)}
    assert failures == {f"'{EVIL}": "'+1+cmd|' /C calc'!A0", "failed": 'a bug: KeyError,\n"x"', "left": ""}
    lesions = rows(ledger.out / LESIONS_NAME)
    assert [(row["case"], row["id"], row["volume_ml"], row["name"]) for row in lesions] == [
        ("0001", "P1", "-1.5", "'@rib"),
        ("0001", "P2", "-1.5", "'@rib"),
    ]


@pytest.mark.parametrize("text", ["=1", "+a", "-a", "@a", "\ta", "\ra", "-1-1"])
def test_no_cell_is_a_formula(text):
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize(("value", "as_cell"), [(None, ""), (-1.5, "-1.5"), ("-1.5", "-1.5"), (3, 3), ("a=1", "a=1")])
def test_other_cells_stay(value, as_cell):
    assert cell(value) == as_cell


def test_a_lost_run_report_leaves_a_line(ledger):
    (ledger.slot("0001") / "run_report.json").write_text("{")
    write_tables(ledger, case_lines(ledger))
    (done,) = [row for row in rows(ledger.out / CASES_NAME) if row["case"] == "0001"]
    assert (done["outcome"], done["psma_volume_ml"]) == ("done", "")


def test_the_command_makes_them_anew(ledger, capsys):
    assert main(["cohort-tables", str(ledger.out)]) == 0
    said = capsys.readouterr().out
    assert str(ledger.out / CASES_NAME) in said
    assert "4 cases = 1 done + 1 refused + 1 failed + 1 left" in said
    assert (ledger.out / "summary.html").is_file()
    assert main(["cohort-tables", str(ledger.out / "nowhere")]) == 2


def test_a_table_that_cannot_be_written_is_one_line(ledger):
    (ledger.out / f"{CASES_NAME}").mkdir()
    with pytest.raises(OutputError, match="tables could not be written"):
        write_tables(ledger, case_lines(ledger))


def test_parquet_where_pyarrow_is(ledger):
    parquet = pytest.importorskip("pyarrow.parquet")
    written = write_tables(ledger, case_lines(ledger))
    assert [path.name for path in written] == [*_TABLES, *(name.replace(".csv", ".parquet") for name in _TABLES)]
    cases = parquet.read_table(ledger.out / "cases.parquet").to_pylist()
    assert {case["case"] for case in cases} == {"0001", f"'{EVIL}", "failed", "left"}
    assert next(case["psma_volume_ml"] for case in cases if case["case"] == "0001") == 12.5
    lesions = parquet.read_table(ledger.out / "lesions.parquet").to_pylist()
    assert [(lesion["id"], lesion["volume_ml"], lesion["suv_max"]) for lesion in lesions] == [
        ("P1", -1.5, None),
        ("P2", -1.5, None),
    ]


def test_parquet_has_the_same_types_whatever_lies_in_it(ledger, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    empty = Ledger(tmp_path / "empty")
    empty.ask(CohortRequest(tmp_path / "in", empty.out, CohortSettings("single")), "key", {"0002": "in/0002"})
    for each in (ledger, empty):
        write_tables(each, case_lines(each))
    for name in ("cases", "lesions", "failures"):
        schemas = [parquet.read_schema(each.out / f"{name}.parquet") for each in (ledger, empty)]
        assert schemas[0].equals(schemas[1])
        assert {str(kind) for kind in schemas[0].types} <= {"double", "string"}


def test_without_pyarrow_there_is_csv_alone(ledger, monkeypatch):
    monkeypatch.setattr("deeppsma.operation.cohort.tables.find_spec", lambda name: None)
    assert [path.name for path in write_tables(ledger, case_lines(ledger))] == list(_TABLES)
