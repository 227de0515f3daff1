"""The summary page: it says what is in the folders, runs nothing, and loads nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest
from builders.cohorts import REPORT

from deeppsma.core.errors import OutputError
from deeppsma.operation.cohort import summary
from deeppsma.operation.cohort.histogram import histogram_svg
from deeppsma.operation.cohort.ledger import CaseRecord, Ledger, Outcome
from deeppsma.operation.cohort.plan import CohortRequest, CohortSettings
from deeppsma.operation.cohort.summary import SUMMARY_NAME, Gathered, outliers, write_summary
from deeppsma.operation.cohort.tables import CaseLine, case_lines

EVIL = '<img src=x onerror="alert(1)">&'


class Elements(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def add(ledger, name, volume_ml=10.0, seconds=1.0):
    ledger.write(CaseRecord(name, Outcome.DONE, seconds=seconds, device="cpu", files={"run_report.json": ""}))
    report = json.loads(json.dumps(REPORT))
    report["findings"]["psma"]["volume_ml"] = volume_ml
    (ledger.slot(name) / "run_report.json").write_text(json.dumps(report))
    (ledger.slot(name) / "thumbnail.png").write_bytes(b"\x89PNG picture")


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "out")
    names = [*(f"c{n}" for n in range(10)), "huge #1?", "x%2f", "left"]
    request = CohortRequest(tmp_path / "in", ledger.out, CohortSettings("single"))
    ledger.ask(request, "key", dict.fromkeys([*names, EVIL], ""))
    for number, name in enumerate(names[:10]):
        add(ledger, name, 10.0 + number)
    add(ledger, "huge #1?", 5000.0)
    (ledger.slot("huge #1?") / "report.html").write_text("")
    ledger.write(CaseRecord("x%2f", Outcome.FAILED, "a bug: <script>alert(2)</script>"))
    (ledger.out / "cases" / "evil").mkdir()
    return ledger


def page(ledger, more=()):
    gathered = Gathered()
    lines = [*case_lines(ledger), *more]
    assert list(gathered.passing(lines)) == lines
    write_summary(ledger, gathered)
    return (ledger.out / SUMMARY_NAME).read_text(encoding="utf-8")


def test_it_counts_and_names(ledger):
    text = page(ledger)
    assert "14 cases" in text
    assert '<dt>Done</dt><dd class="big">11</dd>' in text
    assert "median 15" in text
    links = {attributes["href"] for tag, attributes in Elements(text).found if tag == "a"}
    assert "cases/huge%20%231%3F/report.html" in links
    assert "cases/c0/run_report.json" in links
    assert text.count("data:image/png;base64,") == 11


def test_names_and_lines_are_escaped_and_nothing_runs_or_loads(ledger):
    record = CaseRecord(EVIL, Outcome.REFUSED, EVIL)
    done = CaseRecord("d" + EVIL, Outcome.DONE, device=EVIL, notes=(EVIL,))
    text = page(ledger, [CaseLine(EVIL, "", record, {}), CaseLine("d" + EVIL, "", done, {"fallbacks": [EVIL]})])
    elements = Elements(text).found
    assert not {tag for tag, _ in elements} & {"script", "iframe", "object", "link", "form"}
    assert not [name for _, attributes in elements for name in attributes if name.startswith("on") or name == "style"]
    assert all(a["src"].startswith("data:image/png;base64,") for tag, a in elements if tag == "img")
    assert not [a["href"] for tag, a in elements if "href" in a and ":" in a["href"]]
    (policy,) = [a["content"] for tag, a in elements if a.get("http-equiv") == "Content-Security-Policy"]
    style = re.search("<style>(.*?)</style>", text, re.S)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:;")
    assert "script-src" not in policy


def test_outliers_come_first(ledger):
    gathered = Gathered()
    for line in case_lines(ledger):
        gathered.add(line)
    (found,) = outliers(gathered)
    assert (found.name, found.label, found.value) == ("huge #1?", "PSMA volume, ml", 5000.0)
    text = page(ledger)
    assert text.index("Projections of huge") < text.index("Projections of c0")


def test_few_cases_have_no_outliers():
    gathered = Gathered()
    gathered.values["PSMA volume, ml"] = {"a": 1.0, "b": 1e6}
    assert outliers(gathered) == []


def test_pictures_that_are_left_out_are_told(ledger, monkeypatch):
    monkeypatch.setattr(summary, "MOST_PICTURES", 3)
    text = page(ledger)
    assert text.count("<img") == 3
    assert "8 more are left out" in text


def test_a_page_that_cannot_be_written_is_one_line(ledger):
    (ledger.out / SUMMARY_NAME).mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        page(ledger)


@pytest.mark.parametrize("values", [[], [0.0], [5.0, 5.0], [0.0, 1e6, 3.0]])
@pytest.mark.parametrize("logarithmic", [False, True])
def test_a_histogram_has_a_bar_for_everyone(values, logarithmic):
    text = histogram_svg(values, "a < b", logarithmic)
    assert sum(int(n) for n in re.findall(r"<title>(\d+) from", text)) == len(values)
    assert "a < b" not in text
    assert "nan" not in text
