"""A process that stays, asked over HTTP as the platform asks."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest
from builders.cases import write_platform_case

from deeppsma.cli.commands import main
from deeppsma.core.errors import ConfigurationError, InputError
from deeppsma.io.result_folder import REPORT_NAME
from deeppsma.models import weights
from deeppsma.models.weights import keep_networks, read_member
from deeppsma.operation.engine import Engine
from deeppsma.operation.job import Job
from deeppsma.operation.metrics import Metrics, resident_bytes
from deeppsma.operation.serve import Service, open_server

ROOT = Path(__file__).resolve().parents[2]
REPORT = SimpleNamespace(seconds={"network": 1.0}, fallbacks=("x",), recipe={"name": "single"})


def ask(port, path, method="GET"):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - http, by its text above
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.fixture
def served():
    service = Service(Metrics({"recipe": 'a "b"'}))
    server = open_server(service, "127.0.0.1", 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield service, server.server_address[1]
    server.shutdown()
    server.server_close()


def test_alive_and_ready_are_told_apart(served, monkeypatch):
    service, port = served
    monkeypatch.setattr("deeppsma.operation.serve.HEALTH_WAIT_S", 0.05)
    assert ask(port, "/live")[0] == 200
    assert ask(port, "/health")[0] == 503
    assert ask(port, "/invoke", "POST")[0] == 503
    monkeypatch.setattr("deeppsma.operation.serve.HEALTH_WAIT_S", 20.0)
    threading.Timer(0.2, service.set_ready, [lambda: REPORT]).start()
    assert ask(port, "/health") == (200, "ready")  # held back until then
    assert ask(port, "/invoke", "POST")[0] == 201
    assert ask(port, "/nothing")[0] == ask(port, "/nothing", "POST")[0] == 404


def test_one_case_at_a_time(served):
    service, port = served
    begun, go_on = threading.Event(), threading.Event()

    def slow():
        begun.set()
        go_on.wait(20)
        return REPORT

    service.set_ready(slow)
    first = []
    asking = threading.Thread(target=lambda: first.append(ask(port, "/invoke", "POST")))
    asking.start()
    begun.wait(20)
    assert ask(port, "/invoke", "POST") == (409, "another case is running")
    assert "deeppsma_busy 1" in ask(port, "/metrics")[1]
    go_on.set()
    asking.join()
    assert first == [(201, "done")]


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (InputError("x.mha", "is broken", "copy it again"), 422, "x.mha: is broken; copy it again"),
        (MemoryError("too much"), 507, "out of memory"),
        (KeyError("patient"), 500, "a bug: KeyError"),
    ],
)
def test_a_failing_case_leaves_a_server(served, error, status, line, capfd):
    service, port = served

    def fail():
        raise error

    service.set_ready(fail)
    found = ask(port, "/invoke", "POST")
    assert found[0] == status
    assert line in found[1]
    assert f"deeppsma: error: {found[1]}" in capfd.readouterr().err
    service.set_ready(lambda: REPORT)
    assert ask(port, "/invoke", "POST")[0] == 201


def test_metrics_are_what_a_scraper_reads(served):
    service, port = served
    service.metrics.case("done", 3.0, {"network": 2.0}, 1)
    service.metrics.case("failed", 30.0)
    text = ask(port, "/metrics")[1]
    for line in (
        r'deeppsma_info{version="0.1.0",recipe="a \"b\""} 1',
        'deeppsma_cases_total{outcome="done"} 1',
        'deeppsma_case_seconds_bucket{le="5"} 1',
        'deeppsma_case_seconds_bucket{le="+Inf"} 2',
        "deeppsma_case_seconds_sum 33.000",
        'deeppsma_stage_seconds_total{stage="network"} 2.000',
        "deeppsma_fallbacks_total 1",
    ):
        assert line in text.splitlines()
    assert all(re.fullmatch(r"# TYPE \w+ \w+|\w+(\{.*\})? [\d.]+", line) for line in text.splitlines())
    assert resident_bytes() > 1e7
    assert resident_bytes(Path("/nowhere")) == 0


def test_networks_stay_loaded_only_where_asked_for(tiny_weights, monkeypatch):
    member = read_member(tiny_weights / "cds-compact")
    monkeypatch.setattr(weights, "_kept", None)
    assert member.load() is not member.load()
    keep_networks()
    kept = member.load()
    assert read_member(tiny_weights / "cds-compact").load() is kept
    keep_networks()
    assert member.load() is kept


def test_an_engine_is_warm_or_says_why(tiny_weights, tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "_kept", None)
    engine = Engine("single", "cpu", tiny_weights)
    assert any("one window" in line for line in engine.warm())
    case = write_platform_case(tmp_path / "input")
    first = engine.run(Job(case, tmp_path / "a", "single", "cpu", tiny_weights))[1]
    again = engine.run(Job(case, tmp_path / "b", "single", "cpu", tiny_weights))[1]
    assert first.findings == again.findings
    monkeypatch.setattr("deeppsma.inference.device._gpu_problem", lambda: ("none found", False))
    with pytest.raises(ConfigurationError, match="no GPU can be used"):
        Engine("single", "cuda", tiny_weights).warm()


def test_a_port_that_is_taken_is_one_line(served, capsys):
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    try:
        assert main(["serve", "--port", str(served[1])]) == ConfigurationError.exit_code
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert "cannot be listened on" in capsys.readouterr().err


def test_the_program_serves_case_after_case_and_ends_when_told(tmp_path, tiny_weights):
    out = tmp_path / "output"
    places = {
        "DEEPPSMA_INPUT": tmp_path / "input",
        "DEEPPSMA_OUTPUT": out,
        "DEEPPSMA_MODEL": tiny_weights,
        "DEEPPSMA_RECIPE": "single",
    }
    environment = {**os.environ, **{name: str(value) for name, value in places.items()}}
    command = [sys.executable, "-m", "deeppsma", "serve", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        port = json.loads(program.stdout.readline())["port"]
        until = time.monotonic() + 100
        while ask(port, "/health")[0] != 200:
            assert time.monotonic() < until
        assert ask(port, "/invoke", "POST")[0] == 422  # no input yet
        write_platform_case(tmp_path / "input")
        for _ in range(2):
            assert ask(port, "/invoke", "POST") == (201, "done")
            (out / REPORT_NAME).unlink()
            for mask in out.rglob("*.mha"):
                mask.unlink()
        program.terminate()
        said = program.stdout.read()
        assert program.wait(20) == 143
    events = [json.loads(line) for line in said.splitlines()]
    assert [e["event"] for e in events if e["event"].startswith("case")] == ["case failed", "case done", "case done"]
    assert str(tmp_path) not in said.replace(str(tiny_weights), "")
