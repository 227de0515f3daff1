"""Records of cases, and what was asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from deeppsma.core.errors import ConfigurationError, InputError, OutputError
from deeppsma.operation.cohort.ledger import ASKED_NAME, RECORD_NAME, Account, CaseRecord, Ledger, Outcome
from deeppsma.operation.cohort.plan import CohortRequest, CohortSettings

DONE = CaseRecord("a", Outcome.DONE, "", "key", "stamp", "content", {"run_report.json": "ab"}, 1.5, 1.0, notes=("x",))


def test_a_record_comes_back(tmp_path):
    ledger = Ledger(tmp_path)
    assert ledger.record("a") is None
    ledger.write(DONE)
    assert ledger.record("a") == DONE
    assert ledger.outcomes(["a", "b"]) == {"a": Outcome.DONE, "b": Outcome.LEFT}


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"name": "a", "outcome": "left"}', b'{"name": 1}', b"\xff"])
def test_a_damaged_record_is_none(tmp_path, damage):
    ledger = Ledger(tmp_path)
    ledger.write(DONE)
    (ledger.slot("a") / RECORD_NAME).write_bytes(damage)
    assert ledger.record("a") is None


def test_records_that_make_no_sense_are_not_made():
    with pytest.raises(ValueError, match="says why"):
        replace(DONE, outcome=Outcome.FAILED)
    with pytest.raises(ValueError, match="says why"):
        replace(DONE, line="why?")
    with pytest.raises(ValueError, match="no record"):
        replace(DONE, outcome=Outcome.LEFT)


def test_every_case_is_counted_once():
    outcomes = dict(zip("abcde", [*Outcome, Outcome.DONE], strict=True))
    account = Account.of(outcomes)
    assert str(account) == "5 cases = 2 done + 1 refused + 1 failed + 1 left"
    with pytest.raises(ValueError, match="do not add up"):
        replace(account, done=3)


def request(out: Path) -> CohortRequest:
    return CohortRequest(out.parent / "cohort", out, CohortSettings("single"))


def test_cases_of_several_starts_add_up(tmp_path):
    ledger = Ledger(tmp_path / "out")
    ledger.ask(request(ledger.out), "key", {"a": "x/a", "b": "x/\udce9"})
    ledger.ask(request(ledger.out), "key", {"c": "y/c"})
    assert dict(ledger.asked().cases) == {"a": "x/a", "b": "x/\udce9", "c": "y/c"}


def test_another_method_needs_another_folder(tmp_path):
    ledger = Ledger(tmp_path / "out")
    ledger.ask(request(ledger.out), "key", {})
    with pytest.raises(ConfigurationError, match=r"holds results of recipe single.*need a new folder"):
        ledger.ask(request(ledger.out), "other", {})


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").write_text("")
    with pytest.raises(ConfigurationError, match="something else"):
        Ledger(tmp_path / "out").ask(request(tmp_path / "out"), "key", {})


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written to"):
        Ledger(tmp_path / "file/out").ask(request(tmp_path / "file/out"), "key", {})


def test_results_of_no_cohort_are_one_line(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        Ledger(tmp_path).asked()
    (tmp_path / ASKED_NAME).write_text('{"cases": []}')
    with pytest.raises(InputError, match="not what deeppsma cohort writes"):
        Ledger(tmp_path).asked()
