"""A real Orthanc on the loopback interface (Debian: orthanc, orthanc-dicomweb), with hospital/'s own rules."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from builders.pacs import free_port

ROOT = Path(__file__).resolve().parents[2]
_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


class Orthanc:
    """Runs until it is left.

    Parameters
    ----------
    folder
        For its files.
    node_port
        Where it passes images on to.
    """

    def __init__(self, folder: Path, node_port: int) -> None:
        program = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
        if program is None or not _PLUGIN.exists():
            pytest.skip("NODE NOT TESTED WITH A REAL ARCHIVE: no Orthanc here (Debian: orthanc orthanc-dicomweb)")
        self.dicom_port, self.http_port = free_port(), free_port()
        folder.mkdir(parents=True)
        settings = json.loads((ROOT / "hospital/orthanc.json").read_text())
        settings["DicomModalities"]["deeppsma"] |= {"Host": "127.0.0.1", "Port": node_port}
        settings |= {
            "StorageDirectory": str(folder / "db"),
            "IndexDirectory": str(folder / "db"),
            "DicomPort": self.dicom_port,
            "HttpPort": self.http_port,
            "Plugins": [str(_PLUGIN)],
            "LuaScripts": [str(ROOT / "hospital/to_deeppsma.lua")],
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
        }
        (folder / "orthanc.json").write_text(json.dumps(settings))
        self._log = (folder / "log").open("wb")
        self._process = subprocess.Popen(
            [program, str(folder / "orthanc.json")],
            stdout=self._log,
            stderr=self._log,
            env={**os.environ, "TCP_NODELAY": "1"},
        )

    def __enter__(self) -> Orthanc:
        until = time.monotonic() + 60
        while True:
            try:
                self.get("/system")
            except (urllib.error.URLError, ConnectionError):
                assert time.monotonic() < until
                assert self._process.poll() is None
                time.sleep(0.1)
            else:
                return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._log.close()

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}") as answer:
            return json.loads(answer.read())

    def series(self) -> list[dict[str, Any]]:
        """Main tags of all series, with the study's UID."""
        out = []
        for one in self.get("/series?expand"):
            study = self.get(f"/studies/{one['ParentStudy']}")["MainDicomTags"]["StudyInstanceUID"]
            out.append({**one["MainDicomTags"], "study": study, "instances": one["Instances"]})
        return out
