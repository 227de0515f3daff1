"""Consensus networks: small dense networks that say of a focus whether it is disease, a vote for each fold.

Source: GTRC-Net (Peter-MacCallum-Cancer-Centre/GTRC-Net-Pretrained), ``06_Train_Consensus_Evaluator.py`` and
``GTRC_Infer.py``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.errors import WeightsError
from deeppsma.core.settings import read_json, write_json
from deeppsma.core.tracer import Tracer

#: What the networks are fed, unscaled: of the focus, in their order.
FEATURES = ("volume_ml", "ratio_max", "ratio_mean", "ct_mean_hu", "ttb_share", "normal_share")
CONSENSUS_MANIFEST, CONSENSUS_WEIGHTS = "consensus.json", "consensus.safetensors"
_FORMAT = 1
_REMEDY = "import the clone again"


@dataclass(frozen=True, eq=False)
class ConsensusNetwork:
    """Dense layers with ReLU between them and a sigmoid after the last.

    Parameters
    ----------
    kernels
        Of each layer, float32 [from, to]; the first is fed `FEATURES`, the last gives one number.
    biases
        Of each layer, float32 [to].
    """

    kernels: tuple[NDArray[np.float32], ...]
    biases: tuple[NDArray[np.float32], ...]

    def __post_init__(self) -> None:
        if not self.kernels or len(self.kernels) != len(self.biases):
            raise ValueError(f"{len(self.kernels)} kernels and {len(self.biases)} biases")
        width = len(FEATURES)
        for number, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            if kernel.ndim != 2 or kernel.shape[0] != width or bias.shape != kernel.shape[1:]:
                raise ValueError(f"layer {number} of shape {kernel.shape} and {bias.shape} after {width} numbers")
            if not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
                raise ValueError(f"layer {number} holds NaN or infinite weights")
            width = kernel.shape[1]
        if width != 1:
            raise ValueError(f"{width} answers instead of one")

    def probability(self, features: NDArray[np.floating]) -> NDArray[np.float32]:
        """Probability of disease [n] of foci [n, feature]."""
        from scipy.special import expit

        values = np.asarray(features, np.float32)
        for kernel, bias in zip(self.kernels[:-1], self.biases[:-1], strict=True):
            values = np.maximum(values @ kernel + bias, np.float32(0))
        return np.asarray(expit(values @ self.kernels[-1] + self.biases[-1])[:, 0])


@dataclass(frozen=True, eq=False)
class Consensus:
    """The folds' networks for one tracer.

    Parameters
    ----------
    tracer
        Whose foci they know.
    networks
        By fold.
    trained_on
        One line for reports.
    """

    tracer: Tracer
    networks: Mapping[str, ConsensusNetwork]
    trained_on: str = "unknown data"

    def __post_init__(self) -> None:
        if not self.networks:
            raise ValueError("a consensus needs the network of a fold")

    @property
    def sha256(self) -> str:
        """Of all folds' weights, in their order."""
        whole = hashlib.sha256()
        for fold, network in self.networks.items():
            whole.update(fold.encode())
            for values in (*network.kernels, *network.biases):
                whole.update(values.tobytes())
        return whole.hexdigest()

    def votes(self, features: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Whether each fold takes each focus for disease, [fold, n]; features [n, feature].

        Raises
        ------
        ValueError
            If the features are not those that the networks know, or not finite.
        """
        if features.ndim != 2 or features.shape[1] != len(FEATURES):
            raise ValueError(f"features {features.shape} instead of [n, {len(FEATURES)}]")
        if not np.isfinite(features).all():
            raise ValueError("features that are not finite")
        return np.stack([network.probability(features) > 0.5 for network in self.networks.values()])


def write_consensus(folder: Path, consensus: Consensus, imported_from: str) -> None:
    """Freeze a consensus: safetensors, and a manifest with their SHA-256."""
    from safetensors.numpy import save

    tensors = {}
    for fold, network in consensus.networks.items():
        for number, (kernel, bias) in enumerate(zip(network.kernels, network.biases, strict=True)):
            tensors[f"folds.{fold}.{number}.kernel"] = np.ascontiguousarray(kernel)
            tensors[f"folds.{fold}.{number}.bias"] = np.ascontiguousarray(bias)
    content = save(tensors)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONSENSUS_WEIGHTS).write_bytes(content)
    manifest = {
        "format": _FORMAT,
        "notice": "Not for clinical use.",
        "tracer": consensus.tracer.value,
        "features": list(FEATURES),
        "layers": {fold: len(network.kernels) for fold, network in consensus.networks.items()},
        "sha256": hashlib.sha256(content).hexdigest(),
        "training": {"data": consensus.trained_on, "imported_from": imported_from},
    }
    write_json(folder / CONSENSUS_MANIFEST, manifest)


def read_frozen_consensus(folder: Path) -> Consensus:
    """Read what `write_consensus` wrote.

    Raises
    ------
    WeightsError
        One line: if it is missing, damaged, of another format, or not what its manifest says.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = folder / CONSENSUS_MANIFEST
    manifest = read_json(path, _REMEDY, WeightsError)
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
        raise WeightsError(path, f"no manifest of a consensus of format {_FORMAT}", _REMEDY)
    weights = folder / CONSENSUS_WEIGHTS
    try:
        content = weights.read_bytes()
    except OSError as error:
        raise WeightsError(weights, f"not readable ({error.strerror})", _REMEDY) from None
    found = hashlib.sha256(content).hexdigest()
    if found != manifest.get("sha256"):
        raise WeightsError(weights, f"SHA-256 {found[:12]}..., not the manifest's", _REMEDY)
    if manifest.get("features") != list(FEATURES):
        raise WeightsError(path, f"fed {manifest.get('features')}, known is {', '.join(FEATURES)}", _REMEDY)
    try:
        tensors = load(content)
        networks = {
            str(fold): ConsensusNetwork(
                tuple(tensors[f"folds.{fold}.{n}.kernel"] for n in range(count)),
                tuple(tensors[f"folds.{fold}.{n}.bias"] for n in range(count)),
            )
            for fold, count in manifest["layers"].items()
        }
        return Consensus(Tracer(manifest["tracer"]), networks, str(manifest["training"]["data"]))
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise WeightsError(path, f"no consensus networks as this package knows them ({error})", _REMEDY) from None
