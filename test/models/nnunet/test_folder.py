"""Checkpoints that are spoilt: always one line."""

import json
from contextlib import suppress

import numpy as np
import pytest
import torch
from builders.nnunet_models import write_model

from deeppsma.core.errors import WeightsError
from deeppsma.models.nnunet.folder import read_checkpoint, read_model_folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models") / "model")


@pytest.fixture
def checkpoint(model):
    path = model / "fold_0/checkpoint_final.pth"
    content = path.read_bytes()
    yield path
    path.write_bytes(content)


@pytest.mark.parametrize("seed", range(60))
def test_a_mutated_checkpoint_is_read_the_same_or_refused(model, checkpoint, seed):
    rng = np.random.default_rng(seed)
    content = bytearray(checkpoint.read_bytes())
    pickled = content.index(b"network_weights") - 200
    for place in rng.integers(max(0, pickled), pickled + 6000, 1 + seed % 4):  # where its pickle lies
        content[place] = rng.integers(256)
    checkpoint.write_bytes(content)
    with suppress(WeightsError):
        assert list(read_model_folder(model).folds) == ["0"]


def test_a_flipped_bit_in_a_weight_is_seen(model, checkpoint):
    content = bytearray(checkpoint.read_bytes())
    weight = next(iter(torch.load(checkpoint, weights_only=True)["network_weights"].values()))
    content[content.index(weight.numpy().tobytes()) + 2] ^= 1
    checkpoint.write_bytes(content)
    with pytest.raises(WeightsError, match="the checksum of"):
        read_model_folder(model)


@pytest.mark.parametrize("error", [IndexError("x"), AttributeError(), AssertionError("two\nlines"), RecursionError()])
def test_whatever_the_unpickler_raises_is_one_line(checkpoint, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(WeightsError, match="damaged, or no checkpoint"):
        read_checkpoint(checkpoint)


def test_short_memory_is_not_blamed_on_the_checkpoint(checkpoint, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(MemoryError):
        read_checkpoint(checkpoint)


@pytest.mark.parametrize(
    ("convert", "said"),
    [
        (lambda tensor: tensor.to(torch.float8_e4m3fn), "numbers of type float8"),
        (lambda tensor: tensor.to_sparse(), "no dense tensor"),
        (lambda tensor: tensor.to("meta"), "no dense tensor"),
        (lambda tensor: tensor * float("nan"), "NaN or infinite"),
        (lambda tensor: "text", "no table of weights"),
    ],
)
def test_weights_of_other_kinds_are_refused(model, checkpoint, convert, said):
    content = torch.load(checkpoint, weights_only=True)
    weights = content["network_weights"]
    weights |= {key: convert(value) for key, value in weights.items()}
    torch.save(content, checkpoint)
    with pytest.raises(WeightsError, match=said):
        read_model_folder(model)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s["architecture"]["arch_kwargs"].update(n_stages=10**12, n_conv_per_stage=2), "stages"),
        (lambda s: s["architecture"]["arch_kwargs"].update(features_per_stage=[10**9] * 3), "beyond any network"),
        (lambda s: s["architecture"]["arch_kwargs"].update(n_conv_per_stage=[10**9] * 3), "beyond any network"),
        (lambda s: s["architecture"]["arch_kwargs"].update(kernel_sizes=[[99999, 3, 3]] * 3), "beyond any network"),
    ],
)
def test_absurd_sizes_are_refused(tmp_path, change, said):
    folder = write_model(tmp_path / "model")
    plans = json.loads((folder / "plans.json").read_text())
    change(plans["configurations"]["3d_fullres"])
    (folder / "plans.json").write_text(json.dumps(plans))
    with pytest.raises(WeightsError, match=said):
        read_model_folder(folder)


def test_three_thousand_inherited_configurations_are_refused(tmp_path):
    folder = write_model(tmp_path / "model")
    plans = json.loads((folder / "plans.json").read_text())
    chain = {f"c{i}": {"inherits_from": f"c{i + 1}"} for i in range(3000)}
    plans["configurations"] |= chain
    plans["configurations"]["c3000"] = plans["configurations"].pop("3d_fullres")
    plans["configurations"]["3d_fullres"] = {"inherits_from": "c0"}
    (folder / "plans.json").write_text(json.dumps(plans))
    with pytest.raises(WeightsError, match="inherit from each other"):
        read_model_folder(folder)


def test_a_few_inherited_configurations_are_read(tmp_path):
    folder = write_model(tmp_path / "model")
    plain = read_model_folder(folder).plan
    plans = json.loads((folder / "plans.json").read_text())
    plans["configurations"]["base"] = plans["configurations"].pop("3d_fullres") | {"batch_size": 7}
    plans["configurations"]["3d_fullres"] = {"inherits_from": "middle"}
    plans["configurations"]["middle"] = {"inherits_from": "base", "batch_size": 2}
    (folder / "plans.json").write_text(json.dumps(plans))
    assert read_model_folder(folder).plan == plain
