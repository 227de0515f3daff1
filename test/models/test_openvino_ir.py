import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from builders.cases import TINY_BLOCKS, TINY_NETWORK, write_tiny_member

from deeppsma.models import openvino_ir
from deeppsma.models.openvino_ir import cache_folder, network_ir
from deeppsma.models.weights import read_member

pytest.importorskip("openvino")


@pytest.fixture
def member(tiny_weights):
    return read_member(tiny_weights / "cds-compact")


def never(*_):
    pytest.fail("converted again")


def test_it_is_converted_once_and_kept(member, tmp_path, monkeypatch):
    notes = []
    first = network_ir(member, notes.append, tmp_path / "new/cache")
    assert b"<net" in first.topology
    monkeypatch.setattr(openvino_ir, "_converted", never)
    assert network_ir(member, notes.append, tmp_path / "new/cache") == first
    assert notes == []
    assert len(list((tmp_path / "new/cache").iterdir())) == 1


@pytest.mark.parametrize("other", ["weights", "network", "release"])
def test_whatever_is_another_gets_an_ir_of_its_own(member, tmp_path, monkeypatch, other):
    network_ir(member, never, tmp_path)
    if other == "weights":
        write_tiny_member(tmp_path / "other/cds-compact", TINY_NETWORK, 1)
        member = read_member(tmp_path / "other/cds-compact")
    elif other == "network":
        write_tiny_member(tmp_path / "other/cds-compact", TINY_BLOCKS, 0)
        member = read_member(tmp_path / "other/cds-compact")
    else:
        monkeypatch.setattr(openvino_ir, "version", lambda _: "1.0")
    made = []
    monkeypatch.setattr(openvino_ir, "_converted", lambda _: made.append(1) or openvino_ir.NetworkIr(b"a", b"b"))
    network_ir(member, never, tmp_path)
    assert made == [1]
    assert len(list(tmp_path.glob("*.npz"))) == 2


@pytest.mark.parametrize("damage", ["cut", "flipped", "another file"])
def test_a_damaged_one_is_made_anew_and_that_is_said(member, tmp_path, damage):
    whole = network_ir(member, never, tmp_path)
    (path,) = tmp_path.glob("*.npz")
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    else:
        with path.open("wb") as file:
            np.savez(file, something=np.zeros(3))
    notes = []
    assert network_ir(member, notes.append, tmp_path).weights == whole.weights
    (said,) = notes
    assert said.startswith(f"{path}: damaged (")
    assert said.endswith("cds-compact was converted for OpenVINO anew")
    assert network_ir(member, never, tmp_path).weights == whole.weights


def test_where_nothing_can_be_kept_it_still_runs_and_that_is_said(member, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr(openvino_ir, "_converted", lambda _: openvino_ir.NetworkIr(b"a", b"b"))
    notes = []
    assert network_ir(member, notes.append, tmp_path / "file/cache").topology == b"a"
    monkeypatch.setattr(openvino_ir, "cache_folder", lambda: None)
    network_ir(member, notes.append)
    assert "cannot be kept (Not a directory)" in notes[0]
    assert "cannot be kept (this user has no home)" in notes[1]
    assert all("let DEEPPSMA_CACHE name a folder that can be written to" in line for line in notes)


def test_where_it_is_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("DEEPPSMA_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("DEEPPSMA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "deeppsma"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache/deeppsma"
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda _: (_ for _ in ()).throw(KeyError(os.getuid())))
    assert cache_folder() is None


def test_nobody_is_told_that_a_network_was_converted(member, tmp_path, monkeypatch):
    """OpenVINO's own converter reports each use to its maker."""
    telemetry = pytest.importorskip("openvino_telemetry")
    monkeypatch.setattr(telemetry.Telemetry, "init", lambda *_, **__: pytest.fail("a message to the maker"))
    monkeypatch.setattr(telemetry.Telemetry, "send_event", lambda *_, **__: pytest.fail("a message to the maker"))
    network_ir(member, never, tmp_path)


def test_models_of_nnunet_are_not_taken(member):
    with pytest.raises(TypeError, match="no network of our own kind"):
        openvino_ir._converted(replace(member, network=object()))


def test_frozen_weights_lose_nothing(member, tmp_path):
    """The IR holds them in half precision, as they were frozen."""
    import openvino

    ir = network_ir(member, never, tmp_path)
    model = openvino.Core().read_model(ir.topology, ir.weights)
    constants = {c.get_name(): c for c in model.get_ops() if c.get_type_name() == "Constant"}
    found = [np.sort(np.asarray(c.data, dtype=np.float32).reshape(-1)) for c in constants.values()]
    for key, tensor in member.load().named_parameters():
        if "deep_supervision" in key or "superhead" in key or tensor.numel() < 50:
            continue
        wanted = np.sort(tensor.detach().numpy().reshape(-1))
        assert any(len(f) == len(wanted) and np.array_equal(f, wanted) for f in found), key


def test_the_example_does_not_matter(member, tmp_path):
    """Windows of another size than the one it was converted with come out as torch's do."""
    import openvino

    ir = network_ir(member, never, tmp_path)
    model = openvino.Core().read_model(ir.topology, ir.weights)
    x = np.random.default_rng(0).random((1, len(member.network.channels), 16, 32, 16), dtype=np.float32)
    model.reshape(list(x.shape))
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    with torch.inference_mode():
        wanted = member.load()(torch.from_numpy(x)).numpy()
    assert np.abs(compiled(x)[0] - wanted).max() < 1e-3 * np.abs(wanted).max()
