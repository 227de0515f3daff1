"""What a viewer in a browser needs: a real Orthanc with DICOMweb, and the page and the archive at one origin."""

from __future__ import annotations

import functools
import http.server
import json
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
_DICOMWEB = "/dicom-web"
_CONFIG = {
    "routerBasename": None,
    "extensions": [],
    "modes": [],
    "customizationService": {},
    "showStudyList": True,
    "maxNumberOfWebWorkers": 2,
    "showWarningMessageForCrossOrigin": False,
    "showCPUFallbackMessage": False,
    "disableConfirmationPrompts": True,
    "investigationalUseDialog": {"option": "never"},
    "defaultDataSourceName": "orthanc",
    "dataSources": [
        {
            "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
            "sourceName": "orthanc",
            "configuration": {
                "friendlyName": "Orthanc",
                "name": "orthanc",
                "wadoUriRoot": _DICOMWEB,
                "qidoRoot": _DICOMWEB,
                "wadoRoot": _DICOMWEB,
                "qidoSupportsIncludeField": False,
                "imageRendering": "wadors",
                "thumbnailRendering": "wadors",
                "enableStudyLazyLoad": True,
                "supportsFuzzyMatching": False,
                "supportsWildcard": True,
                "omitQuotationForMultipartRequest": True,
                "bulkDataURI": {"enabled": True},
            },
        }
    ],
}


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def orthanc(folder: Path, files: Iterable[Path]) -> Iterator[str]:
    """A real Orthanc (Debian: orthanc, orthanc-dicomweb) that holds files; gives its address, ends with the block.

    Parameters
    ----------
    folder
        For its database; made.
    files
        DICOM objects.
    """
    program = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
    if program is None or not _PLUGIN.exists():
        raise SystemExit("no Orthanc with DICOMweb here (Debian: apt install orthanc orthanc-dicomweb)")
    folder.mkdir(parents=True)
    port = _free_port()
    settings = {
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "DicomPort": _free_port(),
        "HttpPort": port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [str(_PLUGIN)],
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    address = f"http://127.0.0.1:{port}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, str(folder / "orthanc.json")], stdout=log, stderr=log, env={**os.environ, "TCP_NODELAY": "1"}
        )
        try:
            _wait(address, process)
            for file in files:
                request = urllib.request.Request(f"{address}/instances", file.read_bytes(), method="POST")  # noqa: S310
                urllib.request.urlopen(request).close()  # noqa: S310
            yield address
        finally:
            process.terminate()
            process.wait(30)


def _wait(address: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(f"{address}/system").close()  # noqa: S310
        except (urllib.error.URLError, ConnectionError):
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit("Orthanc does not start") from None
            time.sleep(0.1)
        else:
            return


@contextmanager
def viewer(dist: Path, archive: str) -> Iterator[str]:
    """OHIF's built page with an archive behind it at one origin, so that the browser needs no CORS; gives its address.

    Parameters
    ----------
    dist
        As @ohif/app of npm has it.
    archive
        Address of an Orthanc.
    """
    handler = functools.partial(_Handler, directory=str(dist), archive=archive)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


class _Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, *args: object, archive: str, directory: str) -> None:
        self._archive = archive
        super().__init__(*args, directory=directory)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path.startswith(_DICOMWEB):
            self._pass_on()
        elif path == "/app-config.js":
            self._answer(200, f"window.config = {json.dumps(_CONFIG)};".encode(), "text/javascript")
        else:
            if not Path(self.translate_path(path)).is_file():
                self.path = "/index.html"  # the page has routes of its own
            super().do_GET()

    def _pass_on(self) -> None:
        headers = {"Accept": self.headers.get("Accept", "*/*"), "Host": self.headers["Host"]}
        request = urllib.request.Request(self._archive + self.path, headers=headers)  # noqa: S310
        try:
            with urllib.request.urlopen(request) as found:  # noqa: S310
                self._answer(found.status, found.read(), found.headers["Content-Type"])
        except urllib.error.HTTPError as error:
            self._answer(error.code, error.read(), "text/plain")

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
