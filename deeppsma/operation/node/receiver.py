"""Takes images: C-STORE and C-ECHO for senders that are named; an image is on the disk before it is acknowledged."""

from __future__ import annotations

import threading
from collections import Counter
from io import BytesIO
from typing import TYPE_CHECKING, Any

from deeppsma.core.errors import ConfigurationError
from deeppsma.io.dicom.result_object import MANUFACTURER, MODEL
from deeppsma.io.dicom.series import CT_CLASS, PET_CLASS, SEG_CLASSES
from deeppsma.operation.node.sender import without_delay
from deeppsma.operation.node.settings import Receive
from deeppsma.operation.node.spool import Identity, Spool
from deeppsma.operation.node.tls import server_context
from deeppsma.operation.serve import log

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pynetdicom.events import Event

#: What the reader makes something of; a study's other objects are taken, too, so that it arrives whole, and left out.
_KEPT = frozenset((PET_CLASS, CT_CLASS, *SEG_CLASSES))
#: What the reader decodes: uncompressed, deflated, RLE, lossless JPEG, JPEG-LS, JPEG 2000.
TRANSFER_SYNTAXES = (
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
)
_IDENTITY = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_MAKER = ("Manufacturer", "ManufacturerModelName")
TAKEN, NO_SPACE, WRONG_CLASS, NOT_UNDERSTOOD = 0x0000, 0xA700, 0xA900, 0xC000
_ASSOCIATIONS_MAX, _TIMEOUT_S = 10, 60.0


class Receiver:
    """A listener in threads of its own.

    Parameters
    ----------
    settings
        Who may send, and where it listens.
    spool
        Where images go.
    free_bytes_min
        With less on the disk images are refused.
    """

    def __init__(self, settings: Receive, spool: Spool, free_bytes_min: float = 0.0) -> None:
        self._settings, self._spool, self._free_bytes_min = settings, spool, free_bytes_min
        self._server: Any = None
        self._counting = threading.Lock()
        self._counts: dict[int, Counter[str]] = {}

    def start(self) -> int:
        """Listen; gives the port.

        Raises
        ------
        ConfigurationError
            If the port cannot be had.
        """
        from pynetdicom import AE, AllStoragePresentationContexts, evt
        from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

        own = AE(self._settings.ae_title)
        own.require_called_aet = True
        own.require_calling_aet = list(self._settings.allowed)
        own.maximum_associations = _ASSOCIATIONS_MAX
        own.acse_timeout = own.dimse_timeout = own.network_timeout = _TIMEOUT_S
        own.add_supported_context(Verification)
        for context in AllStoragePresentationContexts:
            own.add_supported_context(str(context.abstract_syntax), list(TRANSFER_SYNTAXES))
        for sop_class in _KEPT:
            own.add_supported_context(sop_class, list(TRANSFER_SYNTAXES))
        handlers: list[Any] = [
            (evt.EVT_CONN_OPEN, without_delay),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_REJECTED, self._rejected),
            (evt.EVT_CONN_CLOSE, self._closed),
        ]
        place = self._settings.host, self._settings.port
        tls = server_context(self._settings.certificate, self._settings.key, self._settings.client_ca)
        try:
            self._server = own.start_server(place, block=False, evt_handlers=handlers, ssl_context=tls)
        except (OSError, OverflowError) as error:
            found = f"cannot be listened on ({error})"
            raise ConfigurationError(f"{place[0]}:{place[1]}", found, "choose another port or host") from None
        return int(self._server.server_address[1])

    def stop(self) -> None:
        """Listen no more; associations are aborted, what was acknowledged is on the disk."""
        if self._server is not None:
            self._server.ae.shutdown()

    def _store(self, event: Event) -> int:
        status, word = self._take(event)
        with self._counting:
            self._counts.setdefault(id(event.assoc), Counter())[word] += 1
        return status

    def _take(self, event: Event) -> tuple[int, str]:
        """Status of an image, and the word that it is counted under."""
        request: Any = event.request
        if str(request.AffectedSOPClassUID) not in _KEPT:
            return TAKEN, "left_out"
        try:
            file = event.encoded_dataset()
            head = head_of(file)
            if is_own_result(head):
                return TAKEN, "own_results"
            self._put(identity_of(head), file)
        except ValueError:
            return WRONG_CLASS, "without_identity"
        except OSError:
            return NO_SPACE, "no_space"
        except Exception:  # noqa: BLE001 - whatever a sender's bytes do to the parser
            return NOT_UNDERSTOOD, "not_understood"
        return TAKEN, "stored"

    def _put(self, identity: Identity, file: bytes) -> None:
        if self._spool.free_bytes() < self._free_bytes_min:
            raise OSError("the disk is nearly full")
        self._spool.store(identity, file)

    def _rejected(self, event: Event) -> None:
        log("association refused", calling=_title(event), known=_title(event) in self._settings.allowed)

    def _closed(self, event: Event) -> None:
        with self._counting:
            counts = self._counts.pop(id(event.assoc), None)
        if counts:
            log("images received", calling=_title(event), **counts)


def head_of(file: bytes) -> Dataset:
    """The few tags of a DICOM file that say what it is."""
    from pydicom import dcmread

    return dcmread(BytesIO(file), stop_before_pixels=True, specific_tags=[*_IDENTITY, *_MAKER])


def identity_of(head: Dataset) -> Identity:
    """What an image says it is.

    Raises
    ------
    ValueError
        If it has no PatientID, or lacks a UID.
    """
    return Identity(*(str(head.get(keyword) or "").strip() for keyword in _IDENTITY))


def is_own_result(head: Dataset) -> bool:
    """Whether this program has made it: an archive passes it on to where the images go, and it would be new input."""
    return tuple(head.get(keyword) for keyword in _MAKER) == (MANUFACTURER, MODEL)


def _title(event: Event) -> str:
    """Calling AE title, as far as it is plain text."""
    title = str(event.assoc.requestor.ae_title or "")
    return "".join(letter for letter in title if letter.isascii() and letter.isprintable())
