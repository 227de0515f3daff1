"""Ends from outside, in processes of their own."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from deeppsma.core.interruption import line_of, outcome, state_outcome, uninterrupted

ROOT = Path(__file__).resolve().parents[2]
START = """
import os, signal, sys, time
from deeppsma.core.interruption import end_in_one_line, state_outcome, undone_at_end, uninterrupted
end_in_one_line()
"""


def run(code, **options):
    return subprocess.run(
        [sys.executable, "-c", START + code],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        **options,
    )


@pytest.mark.parametrize(
    ("number", "status", "said"),
    [
        (signal.SIGTERM, 143, "terminated from outside (a time limit?)"),
        (signal.SIGHUP, 143, "terminated from outside (a time limit?)"),
        (signal.SIGINT, 130, "interrupted"),
    ],
)
def test_one_line_and_a_status(number, status, said):
    done = run(f"os.kill(os.getpid(), {int(number)})")
    assert done.returncode == status
    assert done.stderr == f"deeppsma: error: {said}\n"


def test_what_is_registered_is_undone_and_the_outcome_said():
    done = run(
        "state_outcome('no result was written')\n"
        "with undone_at_end(lambda: print('first')), undone_at_end(lambda: 1 / 0),"
        " undone_at_end(lambda: print('last')):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)"
    )
    assert done.stdout.split() == ["last", "first"]
    assert done.stderr == "deeppsma: error: terminated from outside (a time limit?); no result was written\n"


def test_a_block_that_ended_is_not_undone():
    done = run("with undone_at_end(lambda: print('undone')): pass\nos.kill(os.getpid(), signal.SIGTERM)")
    assert done.returncode == 143
    assert done.stdout == ""


def test_a_module_that_swallows_everything_while_it_is_imported(tmp_path):
    (tmp_path / "greedy.py").write_text(
        "import os, signal\n"
        "try:\n    os.kill(os.getpid(), signal.SIGINT)\n"
        "except BaseException:\n    print('swallowed')\n"
    )
    done = run(f"sys.path.insert(0, {str(tmp_path)!r})\nimport greedy\nprint('went on')")
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "deeppsma: error: interrupted\n"


def test_an_uninterrupted_block_is_completed_first():
    done = run(
        "with uninterrupted():\n"
        "    with uninterrupted():\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('completed')\n"
        "print('never')"
    )
    assert done.returncode == 143
    assert done.stdout == "completed\n"


def test_a_signal_that_is_ignored_stays_ignored():
    done = run("", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert done.returncode == 0
    code = "os.kill(os.getpid(), signal.SIGHUP); print('alive')"
    done = run(code, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert done.stdout == "alive\n"


@pytest.mark.parametrize("deaf", [False, True])
def test_processes_that_were_started_for_the_work_end_too(deaf):
    """Even one that has lost the first signal, as a process does that is just being forked."""
    code = (
        "import multiprocessing\n"
        "def work():\n"
        f"    {'signal.signal(signal.SIGTERM, signal.SIG_IGN)' if deaf else 'pass'}\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
        "if __name__ == '__main__':\n"
        "    child = multiprocessing.get_context('fork').Process(target=work)\n"
        "    child.start()\n"
        "    time.sleep(1)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    done = run(code)  # it waits until nobody holds its pipes any more
    assert done.returncode == 143
    assert done.stdout == "ready\n"


def test_multiprocessing_has_no_leak_to_speak_of():
    """Its tracker outlives this process and said what it found left: five semaphores of a cohort's workers."""
    done = run(
        "import multiprocessing\n"
        "spawning = multiprocessing.get_context('spawn')\n"
        "kept = spawning.Queue(), spawning.Semaphore()\n"
        "print(kept[1]._semlock.name)\n"
        "os.kill(os.getpid(), signal.SIGTERM)"
    )
    assert done.returncode == 143
    assert done.stderr == "deeppsma: error: terminated from outside (a time limit?)\n"
    assert not Path("/dev", "shm", f"sem.{done.stdout.strip().removeprefix('/')}").exists()


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with uninterrupted():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_outside_of_the_main_thread_nothing_is_held():
    seen = []

    def work():
        with uninterrupted():
            seen.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [True]


def test_the_last_line():
    state_outcome("")
    assert line_of("x") == "deeppsma: error: x"
    state_outcome("done")
    assert outcome() == "done"
    assert line_of("x") == "deeppsma: error: x; done"
    state_outcome("")
