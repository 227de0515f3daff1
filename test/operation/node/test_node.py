"""The loop: pairs, runs, retries, gives up, sends; step by step in this process, with a job that is a copy."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from builders.dicom_files import write_pet
from builders.nodes import settings_text, wait_until, write_studies
from builders.pacs import Pacs, send_files
from builders.stub_job import main as write_results
from pydicom import dcmread

from deeppsma.operation.node import node as node_module
from deeppsma.operation.node import sender
from deeppsma.operation.node.child import Ended, last_line, run_process
from deeppsma.operation.node.node import Node
from deeppsma.operation.node.receiver import head_of, identity_of
from deeppsma.operation.node.settings import Keep, read_settings

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(sender, "_CONFIRM_PAUSE_S", 0.01)


@pytest.fixture
def pacs():
    with Pacs() as archive:
        yield archive


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    return write_studies(tmp_path_factory.mktemp("studies"))


class Job:
    """What runs in place of a job's process: writes a result, or ends as it is told."""

    def __init__(self):
        self.begun, self.ends, self.writes = 0, [], True

    def __call__(self, command, said, time_limit_s, stopping):
        self.begun += 1
        images, out = (Path(part) for part in command)
        ended = self.ends.pop(0) if self.ends else Ended(0, "")
        if isinstance(ended, BaseException):
            raise ended
        said.write_text("SECRET^NAME")
        if ended.status == 0 and self.writes:
            assert write_results(images, out) == 0
        return ended


@pytest.fixture
def job(monkeypatch):
    stand_in = Job()
    monkeypatch.setattr(node_module, "run_process", stand_in)
    return stand_in


@pytest.fixture
def make(tmp_path, pacs):
    def made(more="[run]\nbackoff_s = 0\n", **changes) -> Node:
        config = tmp_path / "node.toml"
        rules = {"quiet_s": 0} | changes
        config.write_text(settings_text(tmp_path / "storage", pacs.port, more, **rules))
        return Node(read_settings(config), command=lambda images, out: [str(images), str(out)])

    return made


def take(node, files):
    for path in files:
        node.spool.store(identity_of(head_of(path.read_bytes())), path.read_bytes())


def ended(node, state):
    place = Path(node.settings.storage) / state
    return [json.loads((folder / "job.json").read_text()) for folder in place.iterdir()]


def run(node):
    while node.step():
        pass


@pytest.mark.parametrize("order", [("psma", "fdg"), ("fdg", "psma")])
def test_two_studies_become_one_result_in_both(make, pacs, job, studies, order):
    node = make()
    take(node, studies[order[0]])
    assert not node.step()
    take(node, studies[order[1]])
    run(node)
    assert job.begun == 1
    assert len(pacs.objects) == 4
    expected = {dcmread(files[0]).StudyInstanceUID for files in studies.values()}
    assert {one.StudyInstanceUID for one in pacs.objects.values()} == expected
    assert {one.StudyDescription for one in pacs.objects.values()} == {"2 studies"}
    assert len(ended(node, "done")) == 1


def test_studies_that_come_again_are_not_computed_again_nor_sent_where_they_are(make, pacs, job, studies):
    node = make()
    for _ in range(2):
        take(node, studies["psma"] + studies["fdg"])
        run(node)
    take(node, studies["psma"])  # one alone: of the same pair
    run(node)
    assert job.begun == 1
    assert len(pacs.came) == len(pacs.objects) == 4
    before = set(pacs.objects)
    pacs.objects.clear()
    take(node, studies["psma"] + studies["fdg"])
    run(node)
    assert set(pacs.objects) == before
    assert job.begun == 1


def test_quiet_is_waited_for(make, job, studies):
    node = make(quiet_s=0.5)
    take(node, studies["psma"] + studies["fdg"])
    assert not node.step()
    wait_until(node.step)
    assert job.begun == 1


def test_missing_slices_are_waited_for(make, job, studies):
    node = make(slices_wait_minutes=60)
    pets = [path for path in studies["fdg"] if path.name.startswith("PT")]
    take(node, studies["psma"] + [path for path in studies["fdg"] if path != pets[1]])
    assert not node.step()
    take(node, [pets[1]])
    assert node.step()


def test_one_alone(make, pacs, job, studies):
    node = make(wait_hours=0)
    take(node, studies["fdg"])
    run(node)
    assert len(pacs.objects) == 2
    node = make(alone=False, wait_hours=0)
    take(node, studies["psma"])
    run(node)
    assert len(pacs.objects) == 2


def test_a_job_that_fails_is_tried_again_with_longer_pauses_then_given_up(make, pacs, job, studies, monkeypatch):
    node = make("[run]\nattempts = 3\nbackoff_s = 10")
    now = [time.time() + 10]
    monkeypatch.setattr(node_module.time, "time", lambda: now[0])
    job.ends = [Ended(1, "deeppsma: error: something fails")] * 3
    take(node, studies["psma"] + studies["fdg"])
    pauses = []
    while node.step():
        pauses += [one.not_before - now[0] for one in node.jobs.active()]
        now[0] = max([one.not_before for one in node.jobs.active()] or [0])
    assert pauses == [10, 20]
    assert job.begun == 3
    (dead,) = ended(node, "dead")
    assert dead["reason"] == "deeppsma: error: something fails"
    assert not pacs.came


def test_what_is_refused_as_input_is_not_tried_again(make, job, studies):
    node = make()
    job.ends = [Ended(2, "deeppsma: error: images: cannot be used; send others")]
    take(node, studies["psma"] + studies["fdg"])
    run(node)
    assert job.begun == 1
    assert "cannot be used" in ended(node, "dead")[0]["reason"]


def test_a_run_without_a_dicom_result_has_failed(make, job, studies):
    node = make()
    job.writes = False
    take(node, studies["psma"] + studies["fdg"])
    run(node)
    assert job.begun == 3
    assert ended(node, "dead")[0]["reason"] == "no DICOM object was written"


def test_a_job_that_takes_the_node_down_is_given_up(make, job, studies):
    node = make()
    take(node, studies["psma"] + studies["fdg"])
    job.ends = [KeyboardInterrupt()] * 9  # stands for what ends the process
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            node.step()
        node = make()
    run(node)
    assert "begun 3 times and never ended" in ended(node, "dead")[0]["reason"]


def test_a_bug_is_an_attempt_that_failed(make, job, studies, capsys):
    node = make()
    take(node, studies["psma"] + studies["fdg"])
    job.ends = [RuntimeError("SECRET^NAME")]
    run(node)
    assert len(ended(node, "done")) == 1
    assert "SECRET" not in capsys.readouterr().out


def test_a_stop_does_not_count(make, job, studies):
    node = make()
    take(node, studies["psma"] + studies["fdg"])
    job.ends = [Ended(None, "")]
    node.step()
    (waiting,) = node.jobs.active()
    assert (waiting.state, waiting.attempts) == ("queued", 0)


def test_an_archive_that_is_away_is_waited_for(make, pacs, job, studies):
    node = make("[run]\nbackoff_s = 0\nattempts = 1")
    pacs.close()
    take(node, studies["psma"] + studies["fdg"])
    for _ in range(4):
        assert node.step()
    (waiting,) = node.jobs.active()
    assert waiting.state == "sending"
    assert waiting.absences == 3
    pacs.open()
    run(node)
    assert len(pacs.objects) == 4
    assert job.begun == 1


def test_an_archive_that_is_away_for_too_long_is_given_up(make, pacs, job, studies):
    node = make(wait_hours=0)
    node.settings = replace(node.settings, keep=Keep(waiting_days=0))
    pacs.close()
    take(node, studies["psma"] + studies["fdg"])
    run(node)
    assert "cannot be reached" in ended(node, "dead")[0]["reason"]


def test_an_archive_that_refuses_is_not_asked_for_ever(make, pacs, job, studies):
    node = make()
    pacs.refuses = True
    take(node, studies["psma"] + studies["fdg"])
    run(node)
    assert "C123" in ended(node, "dead")[0]["reason"]
    pacs.refuses = False
    node.jobs.revive()
    run(node)
    assert len(pacs.objects) == 4
    assert job.begun == 1


def test_the_one_that_refuses_does_not_keep_the_other_waiting(make, pacs, job, studies):
    with Pacs("OTHER") as other:
        more = f'[[send]]\nae_title = "OTHER"\nhost = "localhost"\nport = {other.port}\n[run]\nbackoff_s = 0'
        node = make(more)
        pacs.refuses = True
        take(node, studies["psma"] + studies["fdg"])
        run(node)
        assert len(other.came) == len(other.objects) == 4
        assert len(ended(node, "dead")) == 1


def test_what_waited_too_long_is_swept(make, job, studies, capsys):
    node = make()
    take(node, studies["psma"])
    for study in node.spool.studies():
        for folder in (study.folder, *study.folder.iterdir()):
            os.utime(folder, (time.time() - 15 * 86400,) * 2)
    node.sweep()
    assert not list(node.spool.studies())
    assert json.loads(capsys.readouterr().out)["event"] == "study expired"


def test_counts_lie_in_a_file(make, job, studies):
    node = make()
    take(node, studies["psma"])
    node.step()
    said = (Path(node.settings.storage) / "metrics.prom").read_text()
    assert 'deeppsma_node_jobs{state="waiting"} 1' in said
    take(node, studies["fdg"])
    run(node)
    node._next_metrics = 0
    node.step()
    said = (Path(node.settings.storage) / "metrics.prom").read_text()
    assert 'deeppsma_node_jobs{state="done"} 1' in said
    assert 'deeppsma_cases_total{outcome="done"} 1' in said


def test_it_listens_and_works_until_it_is_stopped(make, pacs, job, studies):
    import threading

    node = make()
    node.receiver._settings = replace(node.settings.receive, port=0)
    ports = []
    start = node.receiver.start
    node.receiver.start = lambda: ports.append(start()) or ports[0]
    thread = threading.Thread(target=node.serve)
    thread.start()
    wait_until(lambda: bool(ports))
    assert set(send_files(ports[0], studies["psma"] + studies["fdg"])) == {0}
    assert pacs.wait_for(4)
    wait_until(lambda: bool(ended(node, "done")))
    node.stop()
    thread.join(10)
    assert not thread.is_alive()


def script(tmp_path, text):
    path = tmp_path / "job.py"
    path.write_text(text)
    return [sys.executable, str(path)]


def test_a_process_ends_with_its_last_line(tmp_path):
    command = script(tmp_path, "import sys; print('one'); sys.exit('deeppsma: error: two')")
    assert run_process(command, tmp_path / "said", 20, lambda: False) == Ended(1, "deeppsma: error: two")
    assert last_line(tmp_path / "said") == "deeppsma: error: two"


def test_a_process_that_takes_too_long_is_ended(tmp_path):
    command = script(tmp_path, "import time; time.sleep(60)")
    assert "longer than 0.3 s" in run_process(command, tmp_path / "said", 0.3, lambda: False).line


def test_a_process_ends_with_the_node(tmp_path):
    command = script(tmp_path, "import time; time.sleep(60)")
    began = time.monotonic()
    assert run_process(command, tmp_path / "said", 50, lambda: time.monotonic() - began > 0.3).status is None


def test_a_pet_of_nobodys_agent_is_swept_not_run(make, job, tmp_path, studies):
    node = make(alone=False)
    take(node, sorted(write_pet(tmp_path / "in").iterdir()))
    run(node)
    assert job.begun == 0
