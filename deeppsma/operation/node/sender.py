"""Results go back: by C-STORE or STOW-RS, then it is asked whether they are there (C-FIND, QIDO-RS)."""

from __future__ import annotations

import json
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deeppsma.operation.node.settings import Destination
from deeppsma.operation.node.tls import client_context

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pynetdicom.association import Association
    from pynetdicom.events import Event

_TIMEOUT_S = 30.0
#: An archive may need a moment until it finds what it has taken.
_CONFIRM_TRIES, _CONFIRM_PAUSE_S = 4, 1.0
_OUT_OF_RESOURCES = 0xA7
#: Between two messages: pynetdicom's own thread, just woken by the end of the first, would take the second's answer
#: off the queue, and the message would wait for it in vain until its time is up.
_BETWEEN_S = 0.02
_BOUNDARY = "deeppsma-result"
#: Answers that somebody can mend while the result waits: no access (yet), busy, not there.
_HTTP_AWAY = (401, 403, 404, 407, 408, 429)


class AwayError(Exception):
    """The destination cannot be reached, or takes nothing now: try later."""


class RefusedError(Exception):
    """The destination has answered, and does not take this result."""


@dataclass(frozen=True)
class ResultObject:
    """A DICOM object to send.

    Parameters
    ----------
    path
        Its file.
    study, series, instance, sop_class, transfer_syntax
        UIDs.
    """

    path: Path
    study: str
    series: str
    instance: str
    sop_class: str
    transfer_syntax: str


def result_objects(folder: Path) -> tuple[ResultObject, ...]:
    """DICOM objects below a folder, in the order of their paths; empty if there are none.

    Raises
    ------
    RefusedError
        If a file is none.
    """
    from pydicom import dcmread

    out = []
    for path in sorted(folder.rglob("*.dcm")):
        try:
            head = dcmread(path, stop_before_pixels=True)
            study, series, instance = head.StudyInstanceUID, head.SeriesInstanceUID, head.SOPInstanceUID
            sop_class, syntax = head.SOPClassUID, head.file_meta.TransferSyntaxUID
        except Exception as error:  # noqa: BLE001 - whatever it is, it cannot be sent
            raise RefusedError(f"{path.name} is no DICOM object ({type(error).__name__})") from None
        out.append(ResultObject(path, str(study), str(series), str(instance), str(sop_class), str(syntax)))
    return tuple(out)


def send(objects: Sequence[ResultObject], to: Destination, own_title: str) -> None:
    """Send objects and, unless told otherwise, ask whether they are there. Sent again, they replace themselves.

    Parameters
    ----------
    objects
        At least one.
    to
        Where.
    own_title
        AE title that the node calls itself.

    Raises
    ------
    AwayError
        If the destination cannot be reached or is busy.
    RefusedError
        If it does not take an object, or does not find it afterwards.
    """
    archive = _archive(to, own_title)
    archive.store(objects)
    if not to.confirm:
        return
    for again in range(_CONFIRM_TRIES):
        missing = {one.instance for one in objects} - archive.find(objects)
        if not missing:
            return
        if again + 1 < _CONFIRM_TRIES:
            time.sleep(_CONFIRM_PAUSE_S)
    raise RefusedError(f"{to.name} does not find {len(missing)} of {len(objects)} objects that it has taken")


def has_all(objects: Sequence[ResultObject], to: Destination, own_title: str) -> bool:
    """Whether a destination that can be asked has all objects already.

    Raises
    ------
    AwayError
        If it cannot be reached.
    """
    if not to.confirm:
        return False
    try:
        return {one.instance for one in objects} <= _archive(to, own_title).find(objects)
    except RefusedError:
        return False


def _archive(to: Destination, own_title: str) -> _DicomWeb | _DicomNode:
    return _DicomWeb(to) if to.stow else _DicomNode(to, own_title)


def without_delay(event: Event) -> None:
    """Let a connection send small packets at once: without, each image takes 40 ms."""
    connection = event.assoc.dul.socket
    if connection is not None and connection.socket is not None:
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class _DicomNode:
    def __init__(self, to: Destination, own_title: str) -> None:
        self._to, self._own_title = to, own_title

    def store(self, objects: Sequence[ResultObject]) -> None:
        with self._associated(_contexts(objects)) as association:
            for one in objects:
                time.sleep(_BETWEEN_S)
                self._store(association, one)

    def _store(self, association: Association, one: ResultObject) -> None:
        try:
            status = association.send_c_store(one.path)
        except ValueError:
            raise RefusedError(f"{self._to.name} takes no {_class_name(one)}") from None
        except RuntimeError:
            raise AwayError(f"{self._to.name} has ended the association") from None
        if "Status" not in status:
            raise AwayError(f"{self._to.name} does not answer")
        if status.Status >> 8 == _OUT_OF_RESOURCES:
            raise AwayError(f"{self._to.name} is out of resources")
        if status.Status != 0 and status.Status >> 12 != 0xB:  # B...: taken, with a remark
            raise RefusedError(f"{self._to.name} refuses {_class_name(one)} (status {status.Status:04X})")

    def find(self, objects: Sequence[ResultObject]) -> set[str]:
        from pydicom.dataset import Dataset
        from pydicom.uid import ImplicitVRLittleEndian
        from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as Model  # type: ignore[attr-defined]

        found: set[str] = set()
        with self._associated([(str(Model), str(ImplicitVRLittleEndian))]) as association:
            for study, series in sorted({(one.study, one.series) for one in objects}):
                time.sleep(_BETWEEN_S)
                query = Dataset()
                query.QueryRetrieveLevel = "IMAGE"
                query.StudyInstanceUID, query.SeriesInstanceUID, query.SOPInstanceUID = study, series, ""
                found |= self._answers(association, query, Model)
        return found

    def _answers(self, association: Association, query: Dataset, model: Any) -> set[str]:
        found: set[str] = set()
        try:
            for status, answer in association.send_c_find(query, model):
                if "Status" not in status:
                    raise AwayError(f"{self._to.name} does not answer")
                if status.Status not in (0x0000, 0xFF00, 0xFF01):
                    raise RefusedError(f"{self._to.name} cannot be asked (C-FIND, status {status.Status:04X})")
                if answer is not None and "SOPInstanceUID" in answer:
                    found.add(str(answer.SOPInstanceUID))
        except ValueError:
            raise RefusedError(f"{self._to.name} cannot be asked by C-FIND: set confirm = false") from None
        except RuntimeError:
            raise AwayError(f"{self._to.name} has ended the association") from None
        return found

    @contextmanager
    def _associated(self, contexts: Sequence[tuple[str, str]]) -> Iterator[Association]:
        from pynetdicom import AE, evt

        own = AE(self._own_title)
        own.acse_timeout = own.dimse_timeout = own.network_timeout = own.connection_timeout = _TIMEOUT_S
        for sop_class, syntax in contexts:
            own.add_requested_context(sop_class, syntax)
        try:
            tls = _tls(self._to)
            association = own.associate(
                self._to.host,
                self._to.port,
                ae_title=self._to.ae_title,
                evt_handlers=[(evt.EVT_CONN_OPEN, without_delay)],
                tls_args=(tls, self._to.host) if tls is not None else None,
            )
        except (OSError, RuntimeError) as error:
            raise AwayError(f"{self._to.name} cannot be reached ({type(error).__name__})") from None
        if not association.is_established:
            own.shutdown()
            why = "refuses the association" if association.is_rejected else "cannot be reached"
            raise AwayError(f"{self._to.name} {why}")
        try:
            yield association
        finally:
            if association.is_established:
                association.release()
            own.shutdown()


class _DicomWeb:
    def __init__(self, to: Destination) -> None:
        self._to, self._base = to, to.stow.rstrip("/")

    def store(self, objects: Sequence[ResultObject]) -> None:
        parts = []
        for one in objects:
            # The transfer syntax stands in the file: Orthanc passes over, without a word, parts whose type names it.
            head = f"--{_BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n"
            parts += [head.encode(), one.path.read_bytes(), b"\r\n"]
        kind = f'multipart/related; type="application/dicom"; boundary={_BOUNDARY}'
        body = b"".join([*parts, f"--{_BOUNDARY}--\r\n".encode()])
        answer = self._ask("/studies", {"Content-Type": kind, "Accept": "application/dicom+json"}, body)
        if failed := _values(answer, "00081198"):
            raise RefusedError(f"{self._to.name} refuses {len(failed)} of {len(objects)} objects")

    def find(self, objects: Sequence[ResultObject]) -> set[str]:
        found: set[str] = set()
        for study, series in sorted({(one.study, one.series) for one in objects}):
            place = f"/studies/{study}/series/{series}/instances"
            answers = self._ask(place, {"Accept": "application/dicom+json"})
            for answer in answers if isinstance(answers, list) else []:
                found |= {str(uid) for uid in _values(answer, "00080018")}
        return found

    def _ask(self, place: str, headers: dict[str, str], body: bytes | None = None) -> Any:
        if self._to.authorization_file:
            secret = Path(self._to.authorization_file).read_text(encoding="utf-8").strip()
            headers = {**headers, "Authorization": secret}
        request = urllib.request.Request(f"{self._base}{place}", body, headers)  # noqa: S310 - http(s) alone: settings
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S, context=_tls(self._to)) as answer:  # noqa: S310
                said = answer.read()
        except urllib.error.HTTPError as error:
            if body is None and error.code == 404:  # a series that it does not know
                return []
            said = f"{self._to.name} answers {error.code}"
            raise (AwayError if error.code >= 500 or error.code in _HTTP_AWAY else RefusedError)(said) from None
        except (OSError, ValueError) as error:
            raise AwayError(f"{self._to.name} cannot be reached ({type(error).__name__})") from None
        try:
            return json.loads(said) if said.strip() else []
        except ValueError:
            raise RefusedError(f"{self._to.name} answers something else than JSON") from None


def _tls(to: Destination) -> ssl.SSLContext | None:
    return client_context(to.ca, to.certificate, to.key) if to.uses_tls else None


def _values(answer: Any, tag: str) -> list[Any]:
    element = answer.get(tag, {}) if isinstance(answer, dict) else {}
    return list(element.get("Value", [])) if isinstance(element, dict) else []


def _contexts(objects: Sequence[ResultObject]) -> list[tuple[str, str]]:
    """What is asked for: each class as it is stored; uncompressed ones also as implicit, which any archive takes."""
    from pydicom.uid import UID, ImplicitVRLittleEndian

    asked = {(one.sop_class, one.transfer_syntax) for one in objects}
    plain = {sop_class for sop_class, syntax in asked if not UID(syntax).is_compressed}
    return sorted(asked | {(sop_class, str(ImplicitVRLittleEndian)) for sop_class in plain})


def _class_name(one: ResultObject) -> str:
    from pydicom.uid import UID

    return UID(one.sop_class).name
