"""What the image's entry points say of arguments, and of a folder that nobody mounted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deeppsma.cli.commands import main
from deeppsma.cli.image import refuse_arguments, telling_of_mounts
from deeppsma.core.errors import ConfigurationError, OutputError

ROOT = Path(__file__).resolve().parents[2]
OTHERS = "settings are DEEPPSMA_* variables; other commands: docker run --entrypoint deeppsma IMAGE COMMAND"


pytestmark = pytest.mark.usefixtures("keep_signals")


def run_entry(*arguments, before=""):
    code = f"import sys, runpy; sys.argv = ['inference.py', *{arguments!r}]; {before}\n"
    code += f"runpy.run_path({str(ROOT / 'inference.py')!r}, run_name='__main__')"
    command = [sys.executable, "-W", "ignore", "-c", code]
    environment = {"PYTHONPATH": str(ROOT), "DEEPPSMA_DEVICE": "cpu", "DEEPPSMA_DEADLINE": "none"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_arguments_are_refused_before_any_folder_is_looked_at():
    ended = run_entry(
        "--report", "--recipe", "nonsense", before="import os; os.environ['DEEPPSMA_OUTPUT'] = '/proc/no'"
    )
    assert ended.returncode == 5
    assert ended.stdout == ""
    assert ended.stderr == (
        f"deeppsma: error: arguments '--report --recipe nonsense': this image takes none; {OTHERS}\n"
    )


def test_an_output_folder_that_is_not_mounted_is_said():
    before = "import deeppsma.operation.job, pathlib; deeppsma.operation.job.OUTPUT = pathlib.Path('/proc/output')"
    ended = run_entry(before=before)
    assert ended.returncode == 3
    assert ended.stderr.splitlines()[-1] == (
        "deeppsma: error: /proc/output: cannot be written to (No such file or directory); "
        "give a folder that this user may write to; mount one: -v FOLDER:/proc/output"
    )


@pytest.mark.parametrize("unknown", [["doctor"], ["--report"], ["--host", "127.0.0.1", "doctor"]])
def test_the_servers_image_says_how_other_commands_are_run(unknown, capsys):
    assert main(["serve", *unknown]) == 5
    said = capsys.readouterr().err
    assert said == (f"deeppsma: error: arguments {unknown[-1]!r}: serve takes --host and --port alone; {OTHERS}\n")


def test_other_commands_refuse_as_they_did(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["recipes", "--nonsense"])
    assert ended.value.code == 2
    assert "unrecognized arguments: --nonsense" in capsys.readouterr().err


def test_no_arguments_are_fine():
    refuse_arguments(())
    with pytest.raises(ConfigurationError, match="'a': this image takes none"):
        refuse_arguments(["a"])


@pytest.mark.parametrize(
    ("out", "where", "mounted"),
    [
        ("/output", "/output", True),  # a mounted folder that this user may not write to
        ("/output", "/output/images", False),  # it can be written to, but holds what is not ours
        ("/elsewhere", "/elsewhere", False),  # not in a container, perhaps
    ],
)
def test_a_mount_is_no_remedy_for_other_faults(out, where, mounted, monkeypatch):
    monkeypatch.setattr("deeppsma.cli.image.os.path.ismount", lambda _: mounted)
    with pytest.raises(OutputError, match=r"do that$"), telling_of_mounts(Path(out), Path("/output")):
        raise OutputError(where, "found", "do that")
