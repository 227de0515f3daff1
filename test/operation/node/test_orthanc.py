"""Real archive, real engine: storescu sends to Orthanc, Orthanc passes on, results come back into their studies."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys

import pytest
from builders.nodes import ROOT, settings_text, wait_until, write_pair
from builders.orthanc import Orthanc
from builders.pacs import free_port

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"),
]


@pytest.mark.parametrize("way", ["dicom", "web"])
def test_from_the_archive_and_back(tmp_path, tiny_weights, way):
    storescu = shutil.which("storescu")
    if storescu is None:
        pytest.skip("NODE NOT TESTED WITH A REAL ARCHIVE: no storescu here (Debian: dcmtk)")
    studies = write_pair(tmp_path / "in")
    port = free_port()
    with Orthanc(tmp_path / "orthanc", port) as orthanc:
        options = f'options = ["--fdg-threshold", "0.1", "--psma-threshold", "0.1", "--weights", "{tiny_weights}"]'
        run = f'[run]\nrecipe = "single"\ndevice = "cpu"\nattempts = 1\n{options}\n'
        text = settings_text(tmp_path / "storage", orthanc.dicom_port, run, quiet_s=2.0)
        text = text.replace("port = 0", f"port = {port}", 1).replace('"PACS"', '"ORTHANC"')
        if way == "web":
            there = f'host = "localhost"\nport = {orthanc.dicom_port}'
            assert there in text
            text = text.replace(
                f'ae_title = "ORTHANC"\n{there}', f'stow = "http://localhost:{orthanc.http_port}/dicom-web"'
            )
        config = tmp_path / "node.toml"
        config.write_text(text)
        command = [sys.executable, "-m", "deeppsma", "node", "--config", str(config)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as node:
            assert node.stdout is not None
            assert "node listens" in node.stdout.readline()
            for name in ("fdg", "psma"):
                send = [storescu, "-aec", "ORTHANC", "localhost", str(orthanc.dicom_port), *map(str, studies[name])]
                subprocess.run(send, check=True, env={**os.environ, "TCP_NODELAY": "1"}, timeout=100)
            ended = [tmp_path / "storage" / state for state in ("done", "dead")]
            wait_until(lambda: any(list(place.glob("*/job.json")) for place in ended), 200)
            node.send_signal(signal.SIGTERM)
            said = node.stdout.read()
            assert node.wait(30) == 0
        assert not list(ended[1].iterdir()), [path.read_text() for path in ended[1].glob("*/reason.txt")]
        series = orthanc.series()
    for study in ("1", "2"):
        kinds = sorted(one["Modality"] for one in series if one["study"].endswith(f".{study}"))
        assert kinds == sorted(["PT", "SEG", "RTSTRUCT", "SR", *(["CT"] if study == "1" else [])])
    assert "SECRET" not in said
    assert len(list(ended[0].iterdir())) == 1
