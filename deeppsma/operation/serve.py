"""A process that stays: the platform's invoke mode, one case at a time, networks loaded once.

``GET /health`` answers when the server is ready (its first answer is held back until then, for as long as the platform
waits), ``GET /live`` at once, ``GET /metrics`` for Prometheus. ``POST /invoke`` runs the case that lies in the input
folder then: 201 when the result is on the disk, else a status of 4xx or 5xx, with the error's line as text and on
stderr.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from deeppsma.core.errors import DeepPsmaError
from deeppsma.core.memory import short_of_memory
from deeppsma.operation.metrics import Metrics

if TYPE_CHECKING:
    from deeppsma.pipeline.run_report import RunReport

#: Where the platform looks.
PORT = 4743
#: The platform waits ten seconds for an answer, and asks thirty times.
HEALTH_WAIT_S = 8.0


@dataclass
class Service:
    """What the server's answers are made of.

    Parameters
    ----------
    metrics
        Counts.
    """

    metrics: Metrics
    ready: threading.Event = field(default_factory=threading.Event)
    _run: Callable[[], RunReport] | None = None
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

    def set_ready(self, run: Callable[[], RunReport]) -> None:
        """From now on cases are taken; ``run`` runs the one that lies in the input folder, and gives its report."""
        self._run = run
        self.metrics.ready = True
        self.ready.set()

    def invoke(self) -> tuple[int, str]:
        """Run one case; gives an HTTP status, and a line."""
        if self._run is None:
            return 503, "not ready yet"
        if not self._one_at_a_time.acquire(blocking=False):
            return 409, "another case is running"
        began = time.monotonic()
        self.metrics.busy = True
        try:
            report = self._run()
        except DeepPsmaError as error:
            return self._failed(422, str(error), began)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the next case must find a server
            said = short_of_memory(error)
            if said is not None:
                return self._failed(507, f"out of memory ({said}); give the process more memory", began)
            traceback.print_exc()
            return self._failed(500, f"a bug: {type(error).__name__}", began)
        else:
            seconds = time.monotonic() - began
            self.metrics.case("done", seconds, report.seconds, len(report.fallbacks))
            log("case done", seconds=round(seconds, 3), fallbacks=len(report.fallbacks), recipe=report.recipe["name"])
            return 201, "done"
        finally:
            self.metrics.busy = False
            self._one_at_a_time.release()

    def _failed(self, status: int, line: str, began: float) -> tuple[int, str]:
        seconds = time.monotonic() - began
        self.metrics.case("failed", seconds)
        log("case failed", seconds=round(seconds, 3), status=status)
        print(f"deeppsma: error: {line}", file=sys.stderr, flush=True)
        return status, line


def log(event: str, **more: Any) -> None:
    """One JSON line on stdout; no names of patients or files."""
    line = json.dumps({"time": round(time.time(), 3), "event": event, **more})
    print(f"{line}\n", end="", flush=True)  # in one piece: other threads write, too


def open_server(service: Service, host: str, port: int) -> ThreadingHTTPServer:
    """A server that listens; it answers once ``serve_forever`` runs.

    Raises
    ------
    OSError
        If the port cannot be had.
    """

    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version, timeout = "deeppsma", "", 30.0

        def do_GET(self) -> None:
            if self.path == "/live":
                self._answer(200, "alive")
            elif self.path == "/health":
                ready = service.ready.wait(HEALTH_WAIT_S)
                self._answer(200 if ready else 503, "ready" if ready else "not ready yet")
            elif self.path == "/metrics":
                self._answer(200, service.metrics.text(), "text/plain; version=0.0.4")
            else:
                self._answer(404, "there are /health, /live, /metrics and POST /invoke")

        def do_POST(self) -> None:
            if self.path == "/invoke":
                self._answer(*service.invoke())
            else:
                self._answer(404, "POST goes to /invoke")

        def _answer(self, status: int, text: str, kind: str = "text/plain") -> None:
            body = text.encode("utf-8", errors="replace")
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Requests are no events."""

    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    return server
