"""A node as a process: what it loses when it is killed (nothing), and what it says (no names)."""

from __future__ import annotations

import json
import os
import random
import time

import pytest
from builders.nodes import NodeProcess, one_set, settings_text, wait_until, write_studies
from builders.pacs import Pacs, send_files

from deeppsma.cli.commands import main
from deeppsma.core.errors import OutputError
from deeppsma.io import publishing
from deeppsma.io.publishing import locked
from deeppsma.operation.node import program
from deeppsma.operation.node.program import serve_node
from deeppsma.operation.node.settings import read_settings

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")


@pytest.fixture
def pacs():
    with Pacs() as archive:
        yield archive


@pytest.fixture
def config(tmp_path, pacs):
    path = tmp_path / "node.toml"
    path.write_text(settings_text(tmp_path / "storage", pacs.port))
    return path


def shuffled(studies, seed=0):
    files = [path for study in studies.values() for path in study]
    random.Random(seed).shuffle(files)  # noqa: S311
    return files


def test_studies_in_any_mix_come_back_and_no_name_is_said(tmp_path, pacs, config):
    with NodeProcess(config) as node:
        assert set(send_files(node.port, shuffled(write_studies(tmp_path / "in")))) == {0}
        assert send_files(node.port, [], calling="STRANGER") == []
        assert pacs.wait_for(4)
        assert node.wait_for("job finished")
        assert node.wait_for("association refused")
        assert node.end() == 0
    assert one_set(pacs)
    said = "".join(node.lines)
    assert "SECRET" not in said
    assert "1.2.826" not in said
    assert [event["event"] for event in node.events][-1] == "node stopped"
    names = [str(path) for path in (tmp_path / "storage").rglob("*")]
    assert not any("SECRET" in name or "1.2.826" in name for name in names)


def test_killed_while_the_job_runs(tmp_path, pacs, config):
    studies = write_studies(tmp_path / "in", "slow")
    with NodeProcess(config) as node:
        send_files(node.port, shuffled(studies))
        node.wait_for("job begins")
        wait_until(lambda: bool(children_of(node.process.pid)))
        (child,) = children_of(node.process.pid)
        node.kill()
    wait_until(lambda: not alive(child))  # it does not go on alone
    with NodeProcess(config) as node:
        begins = node.wait_for("job begins")
        assert begins is not None
        assert begins["attempt"] == 2
        began = time.monotonic()
        assert node.end() == 0  # a job that runs does not hold it up
        assert time.monotonic() - began < 8
        assert "job interrupted" in [event["event"] for event in node.events]


def children_of(pid):
    return [int(one) for one in open(f"/proc/{pid}/task/{pid}/children").read().split()]


def alive(pid):
    try:
        return open(f"/proc/{pid}/stat").read().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_one_node_per_storage(tmp_path, config, monkeypatch):
    monkeypatch.setattr(publishing, "LOCK_WAIT_S", 0.0)
    monkeypatch.setattr(program, "_hush", lambda: None)
    with locked(tmp_path / "storage"), pytest.raises(OutputError, match="another run is writing there"):
        serve_node(read_settings(config))


def killed_and_restarted(tmp_path, pacs, step):
    """Send two studies to a node that is killed before a step, start another; False if the first came to its end."""
    studies = write_studies(tmp_path / "in", count=2)
    config = tmp_path / "node.toml"
    config.write_text(settings_text(tmp_path / "storage", pacs.port))
    files = shuffled(studies, step)
    with NodeProcess(config, kill_before=step) as node:
        statuses = [-1] * len(files)
        if node.wait_for("node listens") is not None:
            statuses = send_files(node.port, files)
        killed = node.wait_for("job finished") is None
        if not killed:
            return False
        assert node.process.wait(5) == -9
    with NodeProcess(config) as node:
        unsent = [path for path, status in zip(files, statuses, strict=True) if status != 0]
        # A sender sends again what was not acknowledged; what was, it may forget.
        assert set(send_files(node.port, unsent)) <= {0}
        wait_until(lambda: done(tmp_path))
        assert node.end() == 0
    assert one_set(pacs) or len(pacs.objects) == 4
    return True


def done(tmp_path):
    found = list((tmp_path / "storage/done").glob("*/job.json"))
    return len(found) == 1 and json.loads(found[0].read_text())["state"] == "done"


#: One while images come, one later; the slow test takes all of them.
@pytest.mark.parametrize("step", [30, 72])
def test_killed_at_a_stage(tmp_path, pacs, step):
    assert killed_and_restarted(tmp_path, pacs, step)
    assert len(pacs.objects) == 4


@pytest.mark.slow
def test_killed_before_every_step(tmp_path, pacs):
    step = 1
    while killed_and_restarted(tmp_path / str(step), pacs, step):
        assert len(pacs.objects) == 4, step
        pacs.objects.clear()
        pacs.came.clear()
        step += 1
    assert step > 40
    print(f"killed before each of {step - 1} steps")


def test_settings_are_shown_and_checked(tmp_path, config, capsys):
    config.write_text(config.read_text() + 'options = ["--fdg-treshold", "4"]\n')
    assert main(["node", "--config", str(config), "--check"]) == 5
    assert "fdg-treshold" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["node.toml"]
