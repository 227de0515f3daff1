"""Results on their way: taken, confirmed, refused, and a destination that is away."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from builders.certificates import certificate
from builders.dicom_files import write_pet
from builders.pacs import Pacs, free_port
from builders.stub_job import main as write_results
from pydicom import dcmread

from deeppsma.operation.node import sender
from deeppsma.operation.node.sender import AwayError, RefusedError, result_objects, send
from deeppsma.operation.node.settings import Destination
from deeppsma.operation.node.tls import server_context

#: pynetdicom leaves sockets to the garbage collector where a connection fails.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    place = tmp_path_factory.mktemp("result")
    write_pet(place / "in", count=2)
    assert write_results(place / "in", place / "out") == 0
    return result_objects(place / "out")


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(sender, "_CONFIRM_PAUSE_S", 0.01)
    monkeypatch.setattr(sender, "_TIMEOUT_S", 5.0)


@pytest.fixture
def pacs():
    with Pacs() as archive:
        yield archive


def to(pacs, **more):
    return Destination("PACS", "localhost", pacs.port, **more)


def test_objects_arrive_and_replace_themselves(pacs, objects):
    for _ in range(2):
        send(objects, to(pacs), "DEEPPSMA")
    assert set(pacs.objects) == {one.instance for one in objects}
    assert len(pacs.came) == 2 * len(objects) == 4


def test_an_archive_that_refuses(pacs, objects):
    pacs.refuses = True
    with pytest.raises(RefusedError, match="C123"):
        send(objects, to(pacs), "DEEPPSMA")


def test_an_archive_that_is_full_is_away(pacs, objects):
    pacs.refuses, pacs.status = True, 0xA700
    with pytest.raises(AwayError, match="out of resources"):
        send(objects, to(pacs), "DEEPPSMA")


def test_an_archive_that_drops_what_it_took_is_found_out(pacs, objects):
    pacs.forgets = True
    with pytest.raises(RefusedError, match="does not find 2 of 2"):
        send(objects, to(pacs), "DEEPPSMA")
    send(objects, to(pacs, confirm=False), "DEEPPSMA")


def test_nobody_there(objects):
    with pytest.raises(AwayError, match="cannot be reached"):
        send(objects, Destination("PACS", "localhost", free_port()), "DEEPPSMA")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """The archive's certificate and key."""
    return certificate(tmp_path_factory.mktemp("theirs"))


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return certificate(tmp_path_factory.mktemp("ours"))


@pytest.fixture
def guarded(theirs, ours):
    """An archive that speaks TLS alone, and with nobody but us."""
    with Pacs(ssl_context=server_context(*theirs, client_ca=ours[0])) as archive:
        yield archive


def test_by_tls_objects_arrive_and_are_asked_for(guarded, objects, theirs, ours):
    there = to(guarded, tls=True, ca=theirs[0], certificate=ours[0], key=ours[1])
    send(objects, there, "DEEPPSMA")
    assert set(guarded.objects) == {one.instance for one in objects}
    assert sender.has_all(objects, there, "DEEPPSMA")


def test_nothing_goes_to_whom_nobody_vouches_for(guarded, objects, ours):
    for ca in ("", ours[0]):
        with pytest.raises(AwayError, match="cannot be reached"):
            send(objects, to(guarded, tls=True, ca=ca, certificate=ours[0], key=ours[1]), "DEEPPSMA")
    assert not guarded.came


def test_nothing_goes_to_a_host_of_another_name(objects, tmp_path):
    other = certificate(tmp_path, "elsewhere")
    with Pacs(ssl_context=server_context(*other)) as archive, pytest.raises(AwayError, match="cannot be reached"):
        send(objects, to(archive, tls=True, ca=other[0]), "DEEPPSMA")
    assert not archive.came


def test_an_archive_that_asks_who_we_are(guarded, objects, theirs):
    with pytest.raises(AwayError):
        send(objects, to(guarded, tls=True, ca=theirs[0]), "DEEPPSMA")
    assert not guarded.came


def test_tls_is_never_given_up_for_an_archive_without_it(pacs, objects, theirs):
    with pytest.raises(AwayError, match="cannot be reached"):
        send(objects, to(pacs, tls=True, ca=theirs[0]), "DEEPPSMA")
    assert not pacs.came


def test_a_certificate_that_has_gone_is_waited_for(pacs, objects, tmp_path):
    with pytest.raises(AwayError, match=r"cannot be reached \(FileNotFoundError\)"):
        send(objects, to(pacs, tls=True, ca=str(tmp_path / "gone.pem")), "DEEPPSMA")


def test_what_is_no_dicom_cannot_be_sent(tmp_path):
    (tmp_path / "x.dcm").write_bytes(b"no")
    with pytest.raises(RefusedError, match=r"x\.dcm"):
        result_objects(tmp_path)


class Web:
    """A DICOMweb archive that answers as it is told."""

    def __init__(self, objects):
        self.objects, self.came, self.status, self.failed, self.asked = objects, [], 200, 0, []
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                web.asked.append((self.path, self.headers["Content-Type"], self.headers["Authorization"]))
                parts = body.split(b"--deeppsma-result")[1:-1]
                web.came += [part.split(b"\r\n\r\n", 1)[1][:-2] for part in parts]
                self.answer({"00081198": {"vr": "SQ", "Value": [{}] * web.failed}} if web.failed else {})

            def do_GET(self):
                series = self.path.split("/")[5]
                there = [one for one in web.objects if one.series == series]
                self.answer([{"00080018": {"vr": "UI", "Value": [one.instance]}} for one in there])

            def answer(self, content):
                body = json.dumps(content).encode()
                self.send_response(web.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/dicom-web/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def web(objects):
    archive = Web(objects)
    yield archive
    archive.server.shutdown()
    archive.server.server_close()


def test_stow(web, objects, tmp_path):
    (tmp_path / "secret").write_text("Bearer xyz\n")
    send(objects, Destination(stow=web.url, authorization_file=str(tmp_path / "secret")), "DEEPPSMA")
    assert web.came == [one.path.read_bytes() for one in objects]
    ((path, kind, authorization),) = web.asked
    assert path == "/dicom-web/studies"
    assert kind.startswith('multipart/related; type="application/dicom"')
    assert authorization == "Bearer xyz"
    (tmp_path / "copy.dcm").write_bytes(web.came[0])
    assert dcmread(tmp_path / "copy.dcm").SOPInstanceUID == objects[0].instance


@pytest.mark.parametrize(
    ("status", "error"), [(503, AwayError), (401, AwayError), (409, RefusedError), (400, RefusedError)]
)
def test_stow_answers(web, objects, status, error):
    web.status = status
    with pytest.raises(error, match=str(status)):
        send(objects, Destination(stow=web.url), "DEEPPSMA")


def test_stow_by_https(objects, theirs, ours):
    secure = Web(objects)
    secure.server.socket = server_context(*theirs).wrap_socket(secure.server.socket, server_side=True)
    url = secure.url.replace("http://127.0.0.1", "https://localhost")
    try:
        send(objects, Destination(stow=url, ca=theirs[0]), "DEEPPSMA")
        assert secure.came == [one.path.read_bytes() for one in objects]
        with pytest.raises(AwayError, match="cannot be reached"):
            send(objects, Destination(stow=url, ca=ours[0]), "DEEPPSMA")
    finally:
        secure.server.shutdown()
        secure.server.server_close()


def test_stow_that_refuses_some(web, objects):
    web.failed = 1
    with pytest.raises(RefusedError, match="refuses 1 of 2"):
        send(objects, Destination(stow=web.url), "DEEPPSMA")


def test_stow_that_drops_what_it_took(web, objects):
    web.objects = objects[:1]
    with pytest.raises(RefusedError, match="does not find 1 of 2"):
        send(objects, Destination(stow=web.url), "DEEPPSMA")


def test_stow_to_nobody(objects):
    with pytest.raises(AwayError, match="cannot be reached"):
        send(objects, Destination(stow=f"http://127.0.0.1:{free_port()}"), "DEEPPSMA")
