"""A node with nothing in a job's place: the command line, the engine and a tiny network; DICOM objects come back."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from builders.nodes import ROOT, settings_text, wait_until, write_pair
from builders.pacs import Pacs, free_port, send_files

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
#: SEG, RTSTRUCT, Comprehensive 3D SR.
CLASSES = {"1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.481.3", "1.2.840.10008.5.1.4.1.1.88.34"}


def test_two_studies_through_the_command_line(tmp_path, tiny_weights):
    studies = write_pair(tmp_path / "in")
    port = free_port()
    with Pacs() as pacs:
        config = tmp_path / "node.toml"
        options = f'options = ["--fdg-threshold", "0.1", "--psma-threshold", "0.1", "--weights", "{tiny_weights}"]'
        run = f'[run]\nrecipe = "single"\ndevice = "cpu"\nattempts = 1\n{options}\n'
        config.write_text(settings_text(tmp_path / "storage", pacs.port, run).replace("port = 0", f"port = {port}", 1))
        command = [sys.executable, "-m", "deeppsma", "node", "--config", str(config)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as node:
            assert node.stdout is not None
            assert "node listens" in node.stdout.readline()
            assert set(send_files(port, studies["fdg"] + studies["psma"])) == {0}
            ended = [tmp_path / "storage" / state for state in ("done", "dead")]
            wait_until(lambda: any(list(place.glob("*/job.json")) for place in ended), 120)
            node.send_signal(signal.SIGTERM)
            said = node.stdout.read()
            assert node.wait(20) == 0
    assert not list(ended[1].iterdir()), [path.read_text() for path in ended[1].glob("*/reason.txt")]
    for study in ("1", "2"):
        came = {o.SOPClassUID for o in pacs.objects.values() if o.StudyInstanceUID.endswith(f".{study}")}
        assert came == CLASSES
    assert "SECRET" not in said
