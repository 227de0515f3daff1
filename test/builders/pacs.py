"""A hospital's archive in this process, and a sender."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as Find
from pynetdicom.sop_class import Verification

from deeppsma.operation.node.sender import without_delay

SEG_CLASS = "1.2.840.10008.5.1.4.1.1.66.4"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Pacs:
    """Takes objects and is asked for them.

    Parameters
    ----------
    title
        Its AE title.
    ssl_context
        For TLS.
    """

    def __init__(self, title: str = "PACS", ssl_context: Any = None) -> None:
        self.title, self.port = title, free_port()
        self._ssl_context = ssl_context
        self.objects: dict[str, Dataset] = {}
        self.came: list[str] = []
        self.refuses = self.forgets = False
        self.status = 0xC123
        self._changed = threading.Condition()
        self._server: Any = None

    def open(self) -> Pacs:
        own = AE(self.title)
        for context in AllStoragePresentationContexts:
            own.add_supported_context(context.abstract_syntax)
        own.add_supported_context(Find)
        handlers = [(evt.EVT_CONN_OPEN, without_delay), (evt.EVT_C_STORE, self._store), (evt.EVT_C_FIND, self._find)]
        self._server = own.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=handlers, ssl_context=self._ssl_context
        )
        return self

    def close(self) -> None:
        if self._server is not None:
            self._server.ae.shutdown()
            self._server = None

    def __enter__(self) -> Pacs:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait_for(self, count: int, timeout_s: float = 90.0) -> bool:
        """Whether so many objects have come in time."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.objects) >= count, timeout_s)

    def _store(self, event: evt.Event) -> int:
        if self.refuses:
            return self.status
        dataset = event.dataset
        with self._changed:
            self.came.append(str(dataset.SOPInstanceUID))
            if not self.forgets:
                self.objects[str(dataset.SOPInstanceUID)] = dataset
            self._changed.notify_all()
        return 0

    def _find(self, event: evt.Event) -> Iterable[tuple[int, Dataset | None]]:
        query = event.identifier
        for dataset in list(self.objects.values()):
            if dataset.SeriesInstanceUID == query.SeriesInstanceUID:
                answer = Dataset()
                answer.QueryRetrieveLevel, answer.SOPInstanceUID = "IMAGE", dataset.SOPInstanceUID
                yield 0xFF00, answer
        yield 0, None


def _close(association: Any) -> None:
    """Close the socket of an association that has ended: pynetdicom leaves it open where the peer went first."""
    if association.is_alive():
        association.join(10)
    left = association.dul.socket
    if left is not None and left.socket is not None:
        left.socket.close()


@contextmanager
def associated(port: int, calling: str = "PACS", called: str = "DEEPPSMA", tls: Any = None):
    own = AE(calling)
    own.add_requested_context(Verification)
    for sop_class in ("1.2.840.10008.5.1.4.1.1.128", "1.2.840.10008.5.1.4.1.1.2", SEG_CLASS):
        own.add_requested_context(sop_class)
    own.add_requested_context("1.2.840.10008.5.1.4.1.1.88.67")  # a dose report
    own.acse_timeout = own.connection_timeout = 10
    own.dimse_timeout = own.network_timeout = 3  # a peer that was killed is not noticed before
    association = own.associate(
        "127.0.0.1",
        port,
        ae_title=called,
        evt_handlers=[(evt.EVT_CONN_OPEN, without_delay)],
        tls_args=(tls, "localhost") if tls else None,
    )
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        own.shutdown()
        _close(association)


def send_files(port: int, files: Sequence[Path | Dataset], calling: str = "PACS", tls: Any = None) -> list[int]:
    """Status of each file; -1 where the association was refused or has ended."""
    out = []
    with associated(port, calling, tls=tls) as association:
        for file in files:
            if not association.is_established:
                out.append(-1)
                continue
            dataset = dcmread(file) if isinstance(file, Path) else file
            time.sleep(0.01)  # as in deeppsma.operation.node.sender
            try:
                status = association.send_c_store(dataset)
            except RuntimeError:
                status = Dataset()
            out.append(int(status.Status) if "Status" in status else -1)
    return out
