import contextlib
import io
import json
import os
import struct
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from benchmarks.gtrc_stand_in import write_keras_file
from deeppsma.core.errors import ConfigurationError, WeightsError
from deeppsma.models.gtrc import keras_file
from deeppsma.models.gtrc.consensus import ConsensusNetwork
from deeppsma.models.gtrc.keras_file import read_keras_file

#: A folder with GTRC-Net's PSMA/fold_*/consensus_model.keras and FDG/...; they are not ours to give.
REAL = os.environ.get("DEEPPSMA_GTRC", "")


def features(rng, count=500):
    """Foci as patients have them: ml, ratios, HU, shares."""
    volume, mean = rng.lognormal(0, 2, count), 1 + rng.lognormal(0, 1, count)
    ct, ttb = rng.normal(50, 200, count), rng.random(count)
    normal = (1 - ttb) * rng.random(count)
    return np.stack([volume, mean * (1 + rng.random(count)), mean, ct, ttb, normal], axis=1).astype(np.float32)


@pytest.fixture
def model(tmp_path):
    write_keras_file(tmp_path / "consensus_model.keras", np.random.default_rng(0))
    return tmp_path / "consensus_model.keras"


def parts(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewrite(path, compression=zipfile.ZIP_STORED, **changed):
    content = parts(path) | {name.replace("__", "."): value for name, value in changed.items()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, value in content.items():
            if value is not None:
                archive.writestr(name, value)


def config_of(path):
    return json.loads(parts(path)["config.json"])


def edit_weights(path, edit):
    content = io.BytesIO(parts(path)["model.weights.h5"])
    with h5py.File(content, "r+") as file:
        edit(file)
    rewrite(path, **{"model__weights__h5": content.getvalue()})


def replace(file, name, values):
    del file[name]
    file[name] = values


@pytest.mark.slow  # an environment with keras is made first
def test_keras_says_the_same_of_random_networks(tmp_path, ask_keras):
    rng = np.random.default_rng(1)
    paths = [tmp_path / f"{n}.keras" for n in range(3)]
    for path in paths:
        write_keras_file(path, rng)
    asked = features(rng)
    ours = np.stack([read_keras_file(path).probability(asked) for path in paths])
    assert np.abs(ours - ask_keras(asked, paths)).max() <= 1e-6
    assert ours.std() > 0.05


@pytest.mark.skipif(not REAL, reason="GTRC-NET'S OWN CONSENSUS NETWORKS NOT TESTED: DEEPPSMA_GTRC names no folder")
@pytest.mark.parametrize("tracer", ["PSMA", "FDG"])
def test_keras_says_the_same_of_the_real_networks(tracer, ask_keras):
    paths = sorted((Path(REAL) / tracer).glob("fold_*/consensus_model.keras"))
    assert len(paths) == 5
    asked = features(np.random.default_rng(2), 2000)
    ours = np.stack([read_keras_file(path).probability(asked) for path in paths])
    assert np.abs(ours - ask_keras(asked, paths)).max() <= 1e-6
    assert 0.05 < (ours > 0.5).mean() < 0.95


def test_by_hand():
    kernels = np.zeros((6, 2), np.float32), np.array([[1], [-1]], np.float32)
    kernels[0][0, 0], kernels[0][1, 1] = 1, 1
    network = ConsensusNetwork(kernels, (np.zeros(2, np.float32), np.array([0.5], np.float32)))
    # relu(-1) - relu(2) + 0.5 = -1.5; relu(1) - relu(0) + 0.5 = 1.5
    asked = np.array([[-1, 2, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]], float)
    assert network.probability(asked) == pytest.approx([1 / (1 + np.exp(1.5)), 1 / (1 + np.exp(-1.5))])
    assert network.probability(asked[:0]).shape == (0,)


def lambda_layer(config):
    config["config"]["layers"][1] = {"module": "keras.layers", "class_name": "Lambda", "config": {"function": "..."}}


def foreign_module(config):
    config["config"]["layers"][1]["module"] = "os"


def own_activation(config):
    config["config"]["layers"][1]["config"]["activation"] = {"class_name": "function", "config": "system"}


def other_activation(config):
    config["config"]["layers"][1]["config"]["activation"] = "tanh"


def functional(config):
    config["class_name"] = "Functional"


def no_layers(config):
    del config["config"]["layers"]


def wider(config):
    config["config"]["layers"][1]["config"]["units"] = 65


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda_layer, "a layer 'Lambda', known are InputLayer, Dense, Dropout"),
        (foreign_module, "a layer 'Dense', known are"),
        (own_activation, "an activation of its own"),
        (other_activation, "activations tanh, relu, relu, sigmoid"),
        (functional, "a Functional model, known is Sequential"),
        (no_layers, "none of Keras 3"),
        (wider, r"layers/dense/vars/0 are float32 \(6, 64\), not numbers \(6, 65\)"),
    ],
)
def test_configurations_that_are_refused(model, edit, message):
    config = config_of(model)
    edit(config)
    rewrite(model, config__json=json.dumps(config))
    with pytest.raises(WeightsError, match=message):
        read_keras_file(model)


def external(file):
    del file["layers/dense/vars/0"]
    file["layers/dense/vars"].create_dataset("0", (6, 64), "f4", external=[("/etc/passwd", 0, 6 * 64 * 4)])


def linked(file):
    replace(file, "layers/dense/vars/0", h5py.ExternalLink("/etc/passwd", "/x"))


def soft(file):
    replace(file, "layers/dense/vars/0", h5py.SoftLink("/layers/dense_1/vars/0"))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda file: replace(file, "layers/dense_1/vars/0", np.zeros((64, 31), "f4")), r"\(64, 31\), not numbers"),
        (lambda file: replace(file, "layers/dense_3/vars/1", np.full(1, np.nan, "f4")), "layer 3 holds NaN"),
        (lambda file: replace(file, "layers/dense_3/vars/1", np.zeros(1, "S4")), "not numbers"),
        (lambda file: file.__delitem__("layers/dense_2"), "no weights layers/dense_2/vars/0"),
        (external, "not in the file itself; do not trust"),
        (linked, "a link elsewhere; do not trust"),
        (soft, "a link elsewhere; do not trust"),
    ],
)
def test_weights_that_are_refused(model, edit, message):
    edit_weights(model, edit)
    with pytest.raises(WeightsError, match=message):
        read_keras_file(model)


def test_networks_of_another_number_of_features_are_refused(tmp_path):
    write_keras_file(tmp_path / "five.keras", np.random.default_rng(0), features=5)
    with pytest.raises(WeightsError, match=r"float32 \(5, 64\), not numbers \(6, 64\)"):
        read_keras_file(tmp_path / "five.keras")


def test_without_layers_there_is_no_network(model):
    config = config_of(model)
    config["config"]["layers"] = config["config"]["layers"][:1]
    rewrite(model, config__json=json.dumps(config))
    with pytest.raises(WeightsError, match="activations"):
        read_keras_file(model)


def test_a_zip_bomb_is_not_unpacked(model):
    rewrite(model, zipfile.ZIP_DEFLATED, config__json=b" " * (keras_file.MAX_BYTES + 1))
    assert model.stat().st_size < 200_000
    with pytest.raises(WeightsError, match="unpacks to more than 16 MiB"):
        read_keras_file(model)


def test_files_that_are_no_keras_files(tmp_path, model):
    pointer = tmp_path / "pointer.keras"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    with pytest.raises(WeightsError, match=r"is a Git LFS pointer.*run git lfs pull"):
        read_keras_file(pointer)
    with pytest.raises(WeightsError, match="not readable"):
        read_keras_file(tmp_path / "none.keras")
    pointer.write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(WeightsError, match="damaged"):
        read_keras_file(pointer)
    rewrite(model, config__json=None)
    with pytest.raises(WeightsError, match="no Keras 3 file"):
        read_keras_file(model)


def test_damage_in_every_part_raises_nothing_else(model, tmp_path):
    whole = model.read_bytes()
    for place in np.linspace(0, len(whole) - 9, 60).astype(int).tolist():
        model.write_bytes(whole[:place] + struct.pack("<d", np.nan) + whole[place + 8 :])
        # It may be damage that does not show; but nothing else is raised.
        with contextlib.suppress(WeightsError):
            read_keras_file(model)
    rewritten = tmp_path / "cut.keras"
    rewritten.write_bytes(whole)
    rewrite(rewritten, model__weights__h5=parts(rewritten)["model.weights.h5"][:3000])
    with pytest.raises(WeightsError, match="damaged weights"):
        read_keras_file(rewritten)


def test_without_h5py_it_is_said(model, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(ConfigurationError, match="takes h5py"):
        read_keras_file(model)
