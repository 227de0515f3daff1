"""How programs end, whatever happens, and whenever."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deeppsma.cli.exit_status import guarded
from deeppsma.core.errors import InputError
from deeppsma.core.interruption import state_outcome

ROOT = Path(__file__).resolve().parents[2]
ENTRIES = ([str(ROOT / "inference.py")], ["-m", "deeppsma", "recipes"])


@pytest.fixture(autouse=True)
def keep_signals():
    """`guarded` takes over the process's signals; the test runner wants them back."""
    numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}
    environment = dict(os.environ)
    state_outcome("")
    yield
    os.environ.clear()
    os.environ.update(environment)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (InputError("a", "b", "c"), 2, "a: b; c"),
        (MemoryError("1 GB"), 137, "out of memory (1 GB)"),
        (ImportError("libtorch.so: failed to map segment from shared object"), 137, "out of memory (libtorch"),
        (RuntimeError("could not create a primitive"), 137, "out of memory"),
        (OSError(12, "Cannot allocate memory"), 137, "out of memory"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (PermissionError(13, "Permission denied", "/input/PSMA"), 6, "/input/PSMA: Permission denied; check the path"),
    ],
)
def test_what_goes_wrong_becomes_a_last_line_and_a_status(error, status, text, capsys):
    def work() -> None:
        raise error

    assert guarded(work) == status
    said = capsys.readouterr().err
    assert said.startswith("deeppsma: error: ")
    assert said.count("\n") == 1
    assert text in said


def test_a_bug_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        guarded(lambda: 1 / 0)


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("delay_s", [0.0, 0.4])
def test_a_signal_during_start_up_imports_is_one_line(tmp_path, entry, number, delay_s):
    """From the moment on that the entry point runs; before it, Python itself is starting."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Tell:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name in ('deeppsma.operation', 'argparse'):\n"
        "            sys.meta_path.remove(self)\n"
        "            print('started', flush=True)\n"
        "sys.meta_path.insert(0, Tell())\n"
    )
    process = subprocess.Popen(
        [sys.executable, *entry],
        cwd=ROOT,
        env=os.environ
        | {
            "PYTHONPATH": f"{tmp_path}:{ROOT}",
            "DEEPPSMA_INPUT": "/nowhere",
            "DEEPPSMA_OUTPUT": str(tmp_path / "out"),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "started\n"
    time.sleep(delay_s)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    ended = {signal.SIGTERM: 143, signal.SIGINT: 130}[number]
    # It may have come to its own end before the signal.
    assert process.returncode in (ended, 0, 2), said
    if process.returncode == ended:
        assert said.splitlines()[-1].startswith(("deeppsma: error: terminated", "deeppsma: error: interrupted"))
    assert "Traceback" not in said
    assert not list(tmp_path.glob("out/*"))


def test_a_signal_after_the_work_does_not_take_the_result_back():
    code = (
        "import os, signal, atexit; from deeppsma.cli.exit_status import guarded, leave\n"
        "atexit.register(lambda: os.kill(os.getpid(), signal.SIGTERM))\n"
        "leave(guarded(lambda: None))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_names_that_a_terminal_cannot_write_are_shown_somehow():
    code = "from deeppsma.cli.exit_status import guarded; guarded(lambda: print('/tmp/gr\\u00fc\\u00df', chr(0xdcfc)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"},
        capture_output=True,
        check=True,
    )
    assert done.stdout == b"/tmp/gr\\xfc\\xdf \\udcfc\n"
    assert done.stderr == b""


def test_a_reader_who_has_seen_enough_is_no_error():
    command = [sys.executable, "-m", "deeppsma", "recipes"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        process.stdout.close()  # before a line is written
        said = process.stderr.read()
    assert process.returncode == 141
    assert not said


def test_little_is_imported_before_signals_are_seen_to():
    heavy = "{'numpy', 'torch', 'SimpleITK', 'argparse'}"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, deeppsma.cli.exit_status; print(*{heavy} & set(sys.modules))"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    ("limit_mb", "limit"), [(60, "none"), (200, "none"), (650, "none"), (1000, "none"), (650, "28m")]
)
def test_short_memory_ends_in_one_line(platform_case, tmp_path, tiny_weights, limit_mb, limit):
    out = tmp_path / "out"
    folders = {"DEEPPSMA_INPUT": platform_case, "DEEPPSMA_OUTPUT": out, "DEEPPSMA_MODEL": tiny_weights}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(ROOT / "inference.py")],
        env=os.environ
        | {"PYTHONPATH": str(ROOT), "DEEPPSMA_DEVICE": "cpu", "OMP_NUM_THREADS": "2", "DEEPPSMA_DEADLINE": limit}
        | {name: str(path) for name, path in folders.items()},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit_mb * 1_000_000, -1)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if limit != "none" and done.returncode == 0:  # what was there before the network, which needs more
        assert "the answer is 1-threshold" in done.stderr
        assert json.loads((out / "run_report.json").read_text())["device"] == "none: no network was run"
        return
    assert done.returncode == 137, done.stderr
    assert done.stderr.splitlines()[-1].startswith("deeppsma: error: out of memory")
    assert "Traceback" not in done.stderr
    assert list(out.rglob("*")) == []
