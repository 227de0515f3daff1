import json

import numpy as np
import pytest

from benchmarks.gtrc_stand_in import write_keras_file
from deeppsma.core.errors import WeightsError
from deeppsma.core.tracer import Tracer
from deeppsma.models.gtrc.consensus import (
    CONSENSUS_MANIFEST,
    CONSENSUS_WEIGHTS,
    Consensus,
    ConsensusNetwork,
    read_frozen_consensus,
    write_consensus,
)
from deeppsma.models.gtrc.keras_file import read_keras_file


@pytest.fixture
def consensus(tmp_path):
    networks = {}
    for fold in range(3):
        write_keras_file(tmp_path / "m.keras", np.random.default_rng(fold))
        networks[str(fold)] = read_keras_file(tmp_path / "m.keras")
    return Consensus(Tracer.FDG, networks, "327 scans")


@pytest.fixture
def frozen(consensus, tmp_path):
    write_consensus(tmp_path / "frozen", consensus, "clone")
    return tmp_path / "frozen"


def test_frozen_networks_vote_as_those_that_were_read(consensus, frozen):
    again = read_frozen_consensus(frozen)
    features = np.random.default_rng(5).normal(0, 20, (400, 6))
    assert np.array_equal(again.votes(features), consensus.votes(features))
    assert 0 < consensus.votes(features).mean() < 1
    assert (again.tracer, again.trained_on, list(again.networks)) == (Tracer.FDG, "327 scans", ["0", "1", "2"])
    assert consensus.votes(features[:0]).shape == (3, 0)


def edit_manifest(folder, **changed):
    path = folder / CONSENSUS_MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"format": 2}, "format 1"),
        ({"sha256": "0" * 64}, "not the manifest's"),
        ({"layers": {"9": 4}}, "no consensus networks as this package knows them"),
        ({"layers": []}, "no consensus networks"),
        ({"layers": {}}, "a consensus needs the network of a fold"),
        ({"features": ["x"]}, "fed"),
        ({"tracer": "spect"}, "spect"),
    ],
)
def test_manifests_that_are_refused(frozen, changed, message):
    edit_manifest(frozen, **changed)
    with pytest.raises(WeightsError, match=message):
        read_frozen_consensus(frozen)


def test_missing_files_are_one_line(frozen):
    (frozen / CONSENSUS_WEIGHTS).unlink()
    with pytest.raises(WeightsError, match="safetensors: not readable"):
        read_frozen_consensus(frozen)
    (frozen / CONSENSUS_MANIFEST).unlink()
    with pytest.raises(WeightsError, match=r"consensus\.json: not readable"):
        read_frozen_consensus(frozen)


def test_features_that_are_refused(consensus):
    with pytest.raises(ValueError, match="instead of"):
        consensus.votes(np.zeros((3, 5)))
    with pytest.raises(ValueError, match="not finite"):
        consensus.votes(np.full((1, 6), np.nan))


def test_networks_that_are_refused():
    kernel, bias = np.zeros((6, 1), np.float32), np.zeros(1, np.float32)
    with pytest.raises(ValueError, match="1 kernels and 0 biases"):
        ConsensusNetwork((kernel,), ())
    with pytest.raises(ValueError, match="layer 0 of shape"):
        ConsensusNetwork((kernel[:5],), (bias,))
    with pytest.raises(ValueError, match="NaN"):
        ConsensusNetwork((kernel + np.nan,), (bias,))
    with pytest.raises(ValueError, match="2 answers"):
        ConsensusNetwork((np.zeros((6, 2), np.float32),), (np.zeros(2, np.float32),))
    with pytest.raises(ValueError, match="network of a fold"):
        Consensus(Tracer.FDG, {})
