"""hospital/: what its files say of each other agrees, and the node takes its settings."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path, PurePosixPath

import pytest
import yaml
from builders.pacs import free_port

from deeppsma.operation.node.settings import read_settings

ROOT = Path(__file__).resolve().parents[1]
HOSPITAL = ROOT / "hospital"
COMPOSE = yaml.safe_load((HOSPITAL / "compose.yaml").read_text(encoding="utf-8"))
ARCHIVE = json.loads((HOSPITAL / "orthanc.json").read_text(encoding="utf-8"))
NODE = read_settings(HOSPITAL / "node.toml")


def mounts(service: str) -> dict[str, str]:
    """What lies where in a container: target to source."""
    return {each.split(":")[1]: each.split(":")[0] for each in COMPOSE["services"][service]["volumes"]}


def published() -> dict[int, str]:
    """Ports of the archive that the host gives away, with where they are bound."""
    found: dict[int, str] = {}
    for each in COMPOSE["services"]["orthanc"]["ports"]:
        bind, outer, inner = each.rsplit(":", 2)
        assert outer == inner
        found[int(inner)] = bind
    return found


def test_they_call_each_other_by_name_title_and_port():
    node = ARCHIVE["DicomModalities"]["deeppsma"]
    assert (node["AET"], node["Port"]) == (NODE.receive.ae_title, NODE.receive.port)
    assert node["Host"] in COMPOSE["services"]
    (back,) = NODE.send
    assert (back.ae_title, back.port) == (ARCHIVE["DicomAet"], ARCHIVE["DicomPort"])
    assert back.host in COMPOSE["services"]
    assert NODE.receive.allowed == (ARCHIVE["DicomAet"],)
    lua = (HOSPITAL / "to_deeppsma.lua").read_text()
    assert f'"{NODE.receive.ae_title}"' in lua, "its own results must not come back to the node"
    assert 'SendToModality(instanceId, "deeppsma")' in lua
    assert back.confirm <= node["AllowFind"]
    assert node["AllowStore"]


def test_only_the_archive_is_reached_from_outside_and_only_from_this_host_at_first():
    assert set(published()) == {ARCHIVE["DicomPort"], ARCHIVE["HttpPort"]}
    for bind in published().values():
        assert re.fullmatch(r"\$\{\w+:-127\.0\.0\.1\}", bind)
    assert "ports" not in COMPOSE["services"]["deeppsma"]
    assert COMPOSE["services"]["deeppsma"]["networks"] == ["inside"]
    assert COMPOSE["networks"]["inside"]["internal"] is True
    assert ARCHIVE["AuthenticationEnabled"]


def test_what_is_mounted_is_there_and_is_where_settings_look():
    for service in COMPOSE["services"]:
        for target, source in mounts(service).items():
            if source.startswith("./"):
                there = HOSPITAL / source
                assert there.is_file() or Path(f"{there}.example").is_file(), source
            else:
                assert source in COMPOSE["volumes"], source
            assert PurePosixPath(target).is_absolute()
    assert mounts("deeppsma")[str(NODE.storage)] == "node"
    assert COMPOSE["services"]["deeppsma"]["entrypoint"][-1] in mounts("deeppsma")
    assert mounts("orthanc")[ARCHIVE["StorageDirectory"]] == mounts("orthanc")[ARCHIVE["IndexDirectory"]] == "images"
    assert set(ARCHIVE["LuaScripts"]) <= set(mounts("orthanc"))
    (place,) = COMPOSE["services"]["orthanc"]["command"]
    joined = {PurePosixPath(target).name for target in mounts("orthanc") if PurePosixPath(target).parent.match(place)}
    assert joined == {"orthanc.json", "users.json", "to_deeppsma.lua"}
    assert f"install -d -o 1000 -g 1000 {NODE.storage}" in (ROOT / "Dockerfile").read_text()


def test_ports_that_the_page_names_are_those():
    page = (HOSPITAL / "README.md").read_text(encoding="utf-8")
    rows = {int(port) for port in re.findall(r"^\| (\d+) \|", page, re.M)}
    assert rows == {*published(), NODE.receive.port}


@pytest.fixture
def one_host(tmp_path: Path) -> Path:
    """The folder, after what its page says for one host without containers, as far as nothing is started."""
    folder = tmp_path / "hospital"
    shutil.copytree(HOSPITAL, folder)
    shutil.copy(folder / "users.json.example", folder / "users.json")
    page = (folder / "README.md").read_text(encoding="utf-8")
    block = page.split("## Try it without containers")[1].split("```sh\n")[1].split("TCP_NODELAY")[0]
    subprocess.run(["bash", "-e", "-c", block], cwd=folder, check=True)
    return folder / "try"


def test_on_one_host_nothing_of_the_containers_is_left(one_host):
    node, archive = read_settings(one_host / "node.toml"), (one_host / "orthanc/orthanc.json").read_text()
    assert node.storage == str(one_host / "node")
    assert [to.host for to in node.send] == ["localhost"]
    assert json.loads(archive)["DicomModalities"]["deeppsma"]["Host"] == "localhost"
    assert not re.search(r'"/(etc|var)', archive)


def test_a_real_archive_takes_the_folder_of_settings(one_host):
    program = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
    if program is None:
        pytest.skip("SETTINGS NOT TRIED WITH A REAL ARCHIVE: no Orthanc here (Debian: orthanc orthanc-dicomweb)")
    path = one_host / "orthanc/orthanc.json"
    ports = {"DicomPort": free_port(), "HttpPort": free_port()}
    path.write_text(json.dumps(json.loads(path.read_text()) | ports))
    command = [program, str(one_host / "orthanc")]
    said = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        try:
            for line in run.stdout:
                said.append(line)
                if "Orthanc has started" in line:
                    break
        finally:
            run.terminate()
    assert "Orthanc has started" in "".join(said), "".join(said)
