"""Images come in: from those who may send, onto the disk, and nothing breaks the listener."""

from __future__ import annotations

import json
import socket
import ssl
import time

import pytest
from builders.certificates import certificate
from builders.dicom_files import pet_slice, write_pet
from builders.pacs import associated, send_files
from pydicom import dcmread
from pydicom.uid import JPEGLSLossless

from deeppsma.core.errors import ConfigurationError
from deeppsma.io.dicom.result_object import MANUFACTURER, MODEL
from deeppsma.io.dicom.series import SEG_CLASSES
from deeppsma.operation.node import tls
from deeppsma.operation.node.receiver import NO_SPACE, WRONG_CLASS, Receiver
from deeppsma.operation.node.settings import Receive
from deeppsma.operation.node.spool import Spool
from deeppsma.operation.node.tls import client_context

#: pynetdicom leaves sockets to the garbage collector where a connection fails.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
HERE = Receive(("PACS",), host="127.0.0.1", port=0)


@pytest.fixture
def spool(tmp_path):
    return Spool(tmp_path / "storage")


@pytest.fixture
def port(spool):
    receiver = Receiver(HERE, spool)
    yield receiver.start()
    receiver.stop()


@pytest.fixture
def slices(tmp_path):
    return sorted(write_pet(tmp_path / "pet").iterdir())


def stored(spool):
    return [path for study in spool.studies() for files in study.series().values() for path in files]


def test_images_lie_on_the_disk_as_they_came(spool, port, slices, capsys):
    assert send_files(port, slices) == [0] * 4
    files = stored(spool)
    assert sorted(dcmread(path).SOPInstanceUID for path in files) == sorted(dcmread(p).SOPInstanceUID for p in slices)
    assert dcmread(files[0]) == next(
        dcmread(path) for path in slices if dcmread(path).SOPInstanceUID == dcmread(files[0]).SOPInstanceUID
    )
    time.sleep(0.2)
    said = capsys.readouterr().out
    assert json.loads(said)["stored"] == 4
    assert "SECRET" not in said


def test_the_same_image_again_replaces_itself(spool, port, slices):
    assert send_files(port, slices + slices) == [0] * 8
    assert len(stored(spool)) == 4


def test_compressed_images_stay_compressed(spool, port, tmp_path):
    image = dcmread(write_pet(tmp_path / "pet", count=1) / "PT_1_000.dcm")
    image.compress(JPEGLSLossless, generate_instance_uid=False)
    from pynetdicom import AE

    own = AE("PACS")
    own.add_requested_context(image.SOPClassUID, JPEGLSLossless)
    association = own.associate("127.0.0.1", port, ae_title="DEEPPSMA")
    assert association.send_c_store(image).Status == 0
    association.release()
    assert dcmread(stored(spool)[0]).file_meta.TransferSyntaxUID == JPEGLSLossless


def test_echo(port):
    with associated(port) as association:
        assert association.send_c_echo().Status == 0


def test_who_is_not_named_is_refused(spool, port, slices, capsys):
    assert send_files(port, slices, calling="STRANGER") == [-1] * 4
    with associated(port, called="OTHER") as association:
        assert association.is_rejected
    assert not stored(spool)
    time.sleep(0.1)
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(e["calling"], e["known"]) for e in events] == [("STRANGER", False), ("PACS", True)]


def test_an_image_of_nobody_is_refused(spool, port):
    nobody, good = pet_slice(0, 1), pet_slice(1, 2)
    nobody.PatientID = ""
    for image in (nobody, good):
        image.PixelData = bytes(2 * image.Rows * image.Columns)
    assert send_files(port, [nobody, good]) == [WRONG_CLASS, 0]
    assert len(stored(spool)) == 1


def test_a_dose_report_is_taken_and_left_out(spool, port):
    report = pet_slice(0, 1)
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.67"
    assert send_files(port, [report]) == [0]
    assert not stored(spool)


def test_results_that_come_back_are_left_out(spool, port):
    result = pet_slice(0, 1)
    result.SOPClassUID = result.file_meta.MediaStorageSOPClassUID = SEG_CLASSES[0]
    result.Manufacturer, result.ManufacturerModelName = MANUFACTURER, MODEL
    assert send_files(port, [result]) == [0]
    assert not stored(spool)


def test_a_full_disk_is_said(spool, slices):
    receiver = Receiver(HERE, spool, free_bytes_min=1e18)
    try:
        assert send_files(receiver.start(), slices[:1]) == [NO_SPACE]
    finally:
        receiver.stop()


def test_a_port_that_is_taken_is_one_line(spool):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        place = Receive(("PACS",), host="127.0.0.1", port=other.getsockname()[1])
        with pytest.raises(ConfigurationError, match="cannot be listened on"):
            Receiver(place, spool).start()


def test_tls(spool, slices, tmp_path, monkeypatch):
    monkeypatch.setattr(tls, "_HANDSHAKE_S", 0.3)
    cert, key = certificate(tmp_path / "tls")
    place = Receive(("PACS",), host="127.0.0.1", port=0, certificate=cert, key=key, client_ca=cert)
    receiver = Receiver(place, spool)
    port = receiver.start()
    try:
        assert send_files(port, slices, tls=client_context(cert, cert, key)) == [0] * 4
        assert len(stored(spool)) == 4
        assert send_files(port, slices[:1]) == [-1]  # without TLS
        with pytest.raises(ssl.SSLError):
            ssl.create_default_context().wrap_socket(  # who does not know the certificate
                socket.create_connection(("127.0.0.1", port)), server_hostname="localhost"
            )
        with socket.create_connection(("127.0.0.1", port)):  # who says nothing
            assert send_files(port, slices[:1], tls=client_context(cert, cert, key)) == [0]
        assert send_files(port, slices[:1], tls=client_context(cert)) == [-1]  # without a certificate of its own
    finally:
        receiver.stop()
