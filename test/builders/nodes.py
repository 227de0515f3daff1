"""Nodes for tests: their settings, a process of one, and studies for them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from builders.dicom_files import as_psma, edited, write_ct, write_pet
from builders.pacs import Pacs

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(__file__).with_name("node_program.py")


def settings_text(storage: Path, pacs_port: int, more: str = "", receive: str = "", send: str = "", **pair: Any) -> str:
    """Settings of a node that is quick: a quarter of a second is quiet."""
    rules = {"quiet_s": 0.25, "slices_wait_minutes": 0.02} | pair
    lines = [
        f'storage = "{storage}"',
        "[receive]",
        'allowed = ["PACS"]',
        'host = "127.0.0.1"',
        "port = 0",
        receive,
        "[pair]",
        *(f"{name} = {json.dumps(value)}" for name, value in rules.items()),
        "[[send]]",
        f'ae_title = "PACS"\nhost = "localhost"\nport = {pacs_port}',
        send,
        more or "[run]\nbackoff_s = 0.05",
    ]
    return "\n".join(lines) + "\n"


def write_studies(folder: Path, comment: str = "", count: int = 3) -> dict[str, list[Path]]:
    """A PSMA and an FDG study of one patient."""

    def edit(image) -> None:
        image.PatientComments = comment

    def psma(image) -> None:
        edit(image)
        as_psma(image)
        image.StudyDate = image.SeriesDate = image.AcquisitionDate = "20250310"
        image.RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalStartDateTime = "20250310100000"

    write_pet(folder / "fdg", edit, count, study="1")
    write_ct(folder / "fdg", edit, count, study="1")
    write_pet(folder / "psma", psma, count, study="2")
    return {name: sorted((folder / name).glob("*.dcm")) for name in ("fdg", "psma")}


def write_pair(folder):
    """Two sessions in one frame of reference: nothing is to be registered."""

    def fdg(image):
        edited(FrameOfReferenceUID="1.2.826.0.1.3680043.10.999.7")(image)
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"{image.SOPInstanceUID}.7"

    def psma(image):
        as_psma(image)
        fdg(image)

    write_pet(folder / "fdg", fdg, 12)
    write_ct(folder / "fdg", fdg, 12)
    write_pet(folder / "psma", psma, 12, series="7", study="2")
    return {name: sorted((folder / name).iterdir()) for name in ("psma", "fdg")}


class NodeProcess:
    """A node in a process of its own.

    Parameters
    ----------
    config
        Its settings.
    kill_before
        Step that it is killed before, by itself; 0 for none.
    """

    def __init__(self, config: Path, kill_before: int = 0) -> None:
        command = [sys.executable, str(PROGRAM), str(config), *([str(kill_before)] if kill_before else [])]
        path = f"{ROOT}:{ROOT / 'test'}"
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._readers = [
            threading.Thread(target=self._read, args=(stream,)) for stream in (self.process.stdout, self.process.stderr)
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: Any) -> None:
        for line in stream:
            self.lines.append(line)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines if line.startswith("{")]

    def wait_for(self, event: str, timeout_s: float = 90.0, count: int = 1) -> dict[str, Any] | None:
        """An event of the log; None where the process ends before."""
        until = time.monotonic() + timeout_s
        while True:
            alive = self.process.poll() is None
            found = [one for one in self.events if one["event"] == event]
            if len(found) >= count:
                return found[-1]
            if not alive:
                return None
            assert time.monotonic() < until, "".join(self.lines)
            time.sleep(0.02)

    @property
    def port(self) -> int:
        event = self.wait_for("node listens")
        assert event is not None, "".join(self.lines)
        return int(event["port"])

    def kill(self) -> None:
        self.process.kill()
        self._ended()

    def end(self) -> int:
        """As the system ends it; gives the status."""
        self.process.send_signal(signal.SIGTERM)
        return self._ended()

    def _ended(self) -> int:
        status = self.process.wait(20)
        for reader in self._readers:
            reader.join(5)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        return status

    def __enter__(self) -> NodeProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()
        else:
            self._ended()


def wait_until(what: Callable[[], bool], timeout_s: float = 90.0) -> None:
    until = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < until
        time.sleep(0.02)


def one_set(pacs: Pacs, studies: int = 2) -> bool:
    """Whether an archive has one result, and has never been given another: a SEG and an SR per study."""
    return len(pacs.objects) == 2 * studies == len(set(pacs.came))
