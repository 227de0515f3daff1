import hashlib
import json
import pickle
from dataclasses import replace

import pytest
import torch
from builders.cases import TINY_NETWORK, write_tiny_member
from safetensors.torch import load_file, save_file

from deeppsma.core.errors import WeightsError
from deeppsma.core.settings import resources_folder
from deeppsma.models.build import build_network
from deeppsma.models.store import WeightsStore
from deeppsma.models.weights import read_member, write_member


def test_round_trip_in_half_precision(tmp_path):
    torch.manual_seed(0)
    state = build_network(TINY_NETWORK).state_dict()
    written = write_member(tmp_path / "m", TINY_NETWORK, state, {"data": "none"})
    again = read_member(tmp_path / "m")
    assert again == written
    for key, tensor in again.load().state_dict().items():
        assert torch.equal(tensor, state[key].half().float())
    parameters = sum(p.numel() for p in again.load().parameters())
    size = (tmp_path / "m/weights.safetensors").stat().st_size
    assert size < 2 * parameters + 30_000  # two bytes each, once each, and a header


@pytest.mark.parametrize("content", [{"training": None}, {"network": []}, {"network": {"filters": "x"}}, {"format": 2}])
def test_manifests_that_make_no_sense_are_refused(tmp_path, content):
    write_tiny_member(tmp_path / "m")
    manifest = json.loads((tmp_path / "m/manifest.json").read_text())
    (tmp_path / "m/manifest.json").write_text(json.dumps(manifest | content))
    with pytest.raises(WeightsError, match=r"manifest\.json"):
        read_member(tmp_path / "m")


def test_a_pickle_is_never_loaded(tmp_path):
    write_tiny_member(tmp_path / "m")
    path = tmp_path / "m/weights.safetensors"
    path.write_bytes(pickle.dumps({"a": 1}))
    manifest = json.loads((tmp_path / "m/manifest.json").read_text())
    manifest["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / "m/manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(WeightsError, match="not a safetensors file"):
        read_member(tmp_path / "m").load()


def test_weights_that_are_not_finite_are_refused(tmp_path):
    state = build_network(TINY_NETWORK).state_dict()
    write_member(tmp_path / "m", TINY_NETWORK, state, {})
    path = tmp_path / "m/weights.safetensors"
    tensors = load_file(path)
    next(iter(tensors.values()))[0] = float("nan")
    save_file(tensors, path)
    manifest = json.loads((tmp_path / "m/manifest.json").read_text())
    manifest["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / "m/manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(WeightsError, match="NaN or infinite weights"):
        read_member(tmp_path / "m").load()


@pytest.mark.parametrize("value", [float("nan"), 1e6])
def test_weights_that_would_not_be_finite_are_not_written(value, tmp_path):
    state = build_network(TINY_NETWORK).state_dict()
    next(iter(state.values()))[0] = value  # 1e6 is more than half precision holds
    with pytest.raises(WeightsError, match="beyond half precision"):
        write_member(tmp_path / "m", TINY_NETWORK, state, {})
    assert not (tmp_path / "m").exists()


def test_a_manifest_without_its_parts_is_refused(tmp_path):
    write_tiny_member(tmp_path / "m")
    manifest = json.loads((tmp_path / "m/manifest.json").read_text())
    del manifest["network"]["filters"]
    (tmp_path / "m/manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(WeightsError, match="not a valid manifest"):
        read_member(tmp_path / "m")


def test_shipped_weights_load_say_what_they_have_seen_and_stay_small():
    store = WeightsStore.default()
    assert store.names()
    total = 0
    for name in store.names():
        member = store.member(name)
        member.load()
        assert "synthetic" in member.trained_on
        assert "Not for clinical use" in (member.folder / "README.md").read_text()
        total += (member.folder / "weights.safetensors").stat().st_size
    assert total < 30e6
    assert resources_folder().is_dir()


@pytest.mark.parametrize("manifest", [{"format": True}, {"format": 1, "network": {}}, {"format": 1, "nnunet": []}, []])
def test_a_manifest_of_other_things_is_refused(tmp_path, manifest):
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(WeightsError, match="manifest"):
        read_member(tmp_path)


def test_float8_weights_are_refused(tmp_path):
    write_tiny_member(tmp_path / "m")
    path = tmp_path / "m/weights.safetensors"
    state = {key: value.to(torch.float8_e4m3fn) for key, value in load_file(path).items()}
    save_file(state, path)
    manifest = json.loads((tmp_path / "m/manifest.json").read_text())
    manifest["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / "m/manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(WeightsError, match="numbers of type float8"):
        read_member(tmp_path / "m").load()


def test_a_member_may_have_a_stand_in(tmp_path):
    write_tiny_member(tmp_path / "m", seed=1)
    assert read_member(tmp_path / "m").stand_in() is None
    write_tiny_member(tmp_path / "m/without-organ-maps", seed=2)
    assert WeightsStore((tmp_path,)).names() == ["m"]
    found = read_member(tmp_path / "m").stand_in()
    assert found.name == "m-without-organ-maps"
    assert found.sha256 == read_member(tmp_path / "m/without-organ-maps").sha256
    assert found.load() is not None
    (tmp_path / "m/without-organ-maps/manifest.json").write_text("{")
    with pytest.raises(WeightsError, match="without-organ-maps"):
        read_member(tmp_path / "m").stand_in()


@pytest.mark.parametrize(
    ("training", "does"),
    [
        ({"settings": {"random_anatomy": {"no_map_share": 0.4}}}, True),
        ({"settings": {"random_anatomy": {"no_map_share": 0.0}}}, False),
        ({"settings": {"random_anatomy": None}}, False),
        ({"settings": "cds"}, False),
        ({}, False),
    ],
)
def test_who_has_learnt_to_do_without_organ_maps(tmp_path, training, does):
    write_tiny_member(tmp_path / "m")
    assert replace(read_member(tmp_path / "m"), training=training).does_without_organ_maps is does


def test_the_shipped_member_has_a_stand_in_that_has_learnt_to_do_without():
    member = WeightsStore.default().member("cds-compact")
    assert not member.does_without_organ_maps
    assert member.stand_in().does_without_organ_maps
    assert member.stand_in().network == member.network
