"""The result is there in time, whatever happens to the process that computes it."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from builders.cases import TINY_NETWORK, write_platform_case, write_tiny_member

from deeppsma.core.clock import container_age_s, duration_s
from deeppsma.core.errors import DeadlineError
from deeppsma.core.tracer import Tracer
from deeppsma.io.image_files import ImageFile
from deeppsma.io.result_folder import REPORT_NAME, mask_path, output_folder, write_result
from deeppsma.operation import answers as ladder
from deeppsma.operation import deadline
from deeppsma.operation.answers import ANSWERS, FIRST_MEMBERS, FULL, THRESHOLD, Steps
from deeppsma.operation.deadline import best_answer, run_until, said
from deeppsma.operation.job import Job, run_job
from deeppsma.pipeline.run_report import stored_report

ROOT = Path(__file__).resolve().parents[2]
REPORT = {"versions": {"deeppsma": "test"}, "fallbacks": []}


@pytest.fixture(autouse=True)
def keep_signals():
    numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def answer(folder, name):
    with output_folder(folder / name) as staging:
        write_result(staging, folder / name, {}, REPORT)


def hang():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(60)


def crash():
    faulthandler.disable()  # the test runner's would print its own trace
    os.abort()


def terminated():
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)


ENDS = {
    "hang": hang,
    "crash": crash,
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "terminated": terminated,
    "bug": lambda: 1 / 0,
    "out of memory": lambda: os._exit(137),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("done", [0, 1, 2, 3])
def test_the_best_answer_is_published_whatever_happens(end, done, tmp_path, capfd):
    def compute(folder):
        for name in ANSWERS[:done]:
            answer(folder, name)
        ENDS[end]()
        return 0

    began = time.monotonic()
    out = tmp_path / "out"
    limit_s = 1.0 if end == "hang" else 20.0
    if done == 0:
        if end == "out of memory":
            assert run_until(out, began + limit_s, compute).status == 137
        else:
            with pytest.raises(DeadlineError, match="before there was any answer"):
                run_until(out, began + limit_s, compute)
        assert not out.exists()
    else:
        ended = run_until(out, began + limit_s, compute)
        assert (ended.status, [path.name for path in ended.written]) == (0, [REPORT_NAME])
        told = json.loads((out / REPORT_NAME).read_text())["fallbacks"]
        assert bool(told) == bool(said(ended)) == (done < 3)
        assert [path.name for path in out.iterdir()] == [REPORT_NAME]
    assert time.monotonic() - began < limit_s + 1.0, "never overrun"


def test_an_error_of_the_case_is_no_answer(tmp_path):
    def compute(folder):
        answer(folder, THRESHOLD)
        return 2

    ended = run_until(tmp_path / "out", time.monotonic() + 20, compute)
    assert (ended.status, ended.written) == (2, ())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_from_outside_publishes_what_there_is(number, tmp_path):
    def compute(folder):
        answer(folder, THRESHOLD)
        return hang()

    threading.Timer(0.8, os.kill, (os.getpid(), number)).start()
    ended = run_until(tmp_path / "out", time.monotonic() + 20, compute)
    assert ended.status == 0
    assert "terminated from outside" in said(ended)


def test_an_answer_that_was_not_finished_does_not_count(tmp_path):
    assert best_answer(tmp_path) is None
    (tmp_path / FULL / ".deeppsma-partial-x").mkdir(parents=True)
    answer(tmp_path, THRESHOLD)
    assert best_answer(tmp_path) == tmp_path / THRESHOLD


def test_the_names_are_those_that_are_made():
    assert deadline._ANSWERS == ANSWERS == (THRESHOLD, FIRST_MEMBERS, FULL)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    store = tmp_path_factory.mktemp("pair")
    for seed, name in enumerate(("a", "b")):
        write_tiny_member(store / name, TINY_NETWORK, seed)
    recipe = store / "two.toml"
    recipe.write_text('members = ["a", "b"]\nspaces = "bothways"\n')
    return store


def masks_of(out):
    return {tracer: ImageFile(mask_path(out, tracer)).read().voxels for tracer in Tracer}


def test_each_answer_is_whole_and_the_last_is_the_run_without_a_limit(platform_case, tiny_weights, tmp_path):
    job = Job(platform_case, tmp_path / "plain", "single", "cpu", tiny_weights)
    run_job(job)
    limited = Job(platform_case, tmp_path / FULL, "single", "cpu", tiny_weights)
    run_job(limited, steps=Steps(tmp_path, time.monotonic() + 100))
    plain, full, first = (masks_of(tmp_path / name) for name in ("plain", FULL, THRESHOLD))
    for tracer in Tracer:
        assert np.array_equal(plain[tracer], full[tracer])
        assert not (plain[tracer].astype(bool) & ~first[tracer].astype(bool)).any() or first[tracer].any()
    report = stored_report(tmp_path / THRESHOLD)
    assert report.device == "none: no network was run"
    assert any("no network has run" in line for line in report.fallbacks)
    assert stored_report(tmp_path / FULL).deadline["members"] == ["cds-compact"]


def test_members_that_there_is_no_time_for_are_named(platform_case, pair, tmp_path, monkeypatch):
    from dataclasses import replace

    from deeppsma.models.store import WeightsStore
    from deeppsma.pipeline.method import Method
    from deeppsma.pipeline.recipe import Recipe
    from deeppsma.pipeline.segment import segment

    recipe, store = Recipe("two", ("a", "b"), "bothways"), WeightsStore((pair,))
    plain = segment(platform_case, recipe, store, "cpu")
    whole = Steps(tmp_path / "whole", time.monotonic() + 1000)
    there = segment(platform_case, recipe, store, "cpu", opened=whole)
    assert all(np.array_equal(plain.masks[t].voxels, there.masks[t].voxels) for t in Tracer)
    assert whole.plan["dropped"] == []
    late = Steps(tmp_path / "late", time.monotonic() - 1)
    cut = segment(platform_case, recipe, store, "cpu", opened=late)
    assert late.plan["dropped"] == ["b"]
    assert [member.name for member in cut.report.members] == ["a"]
    assert any("no time for members b" in line for line in cut.report.fallbacks)
    alone = segment(platform_case, replace(recipe, members=("a",)), store, "cpu")
    assert all(np.array_equal(alone.masks[t].voxels, cut.masks[t].voxels) for t in Tracer)
    assert (tmp_path / "late" / FIRST_MEMBERS / REPORT_NAME).is_file()
    assert len(ladder.first_members(Method.choose(recipe, store))) == 1


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "deeppsma", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_the_command_line_says_what_it_gives(tmp_path, tiny_weights):
    case = write_platform_case(tmp_path / "input")
    usual = ("segment", case, tmp_path / "out", "--weights", tiny_weights, "--recipe", "single")
    ran = command(*usual, "--deadline", "5m")
    assert ran.returncode == 0, ran.stderr
    assert "psma-pet-ttb.mha" in ran.stdout
    assert command(*usual, "--deadline", "0.01s").returncode == DeadlineError.exit_code
    assert not any((tmp_path / "out").iterdir())
    (case / "psma-pet-suv-threshold.json").write_text("-1")
    refused = command(*usual, "--deadline", "5m")
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].startswith("deeppsma: error: ")
    assert "is no duration" in command(*usual, "--deadline", "soon").stderr


def test_durations():
    assert [duration_s(text) for text in ("90s", "25m", "1.5h")] == [90, 1500, 5400]
    assert duration_s("none") is None
    for wrong in ("", "25", "-1m", "0s", "1d"):
        with pytest.raises(ValueError, match="no duration"):
            duration_s(wrong)


def test_the_age_is_that_of_the_first_process_or_of_this_one(tmp_path):
    boot_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    ticks = int((boot_s - 100) * os.sysconf("SC_CLK_TCK"))
    (tmp_path / "1").mkdir()
    (tmp_path / "1/stat").write_text(f"1 (a ) b) S {' '.join(['0'] * 18)} {ticks} 0")
    assert container_age_s(tmp_path) == pytest.approx(100, abs=1)
    assert container_age_s(Path("/proc")) > 0
    assert container_age_s(tmp_path / "none") == 0


def test_stored_reports_are_checked(tmp_path):
    from deeppsma.core.errors import InputError

    (tmp_path / REPORT_NAME).write_text("{}")
    with pytest.raises(InputError, match="version None"):
        stored_report(tmp_path)
