"""Frozen weights: safetensors beside a manifest, verified before they are used.

A member is a folder with ``manifest.json`` and ``weights.safetensors``. The
manifest says which network the weights belong to, how they were trained and
what their SHA-256 is. Nothing is ever unpickled. (A model folder of nnU-Net,
used as it is, is `deeppsma.models.nnunet.adopt`'s.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from deeppsma.core.errors import WeightsError
from deeppsma.core.memory import raise_if_short
from deeppsma.core.settings import read_json, write_json
from deeppsma.models.build import build_network
from deeppsma.models.config import NetworkConfig
from deeppsma.models.nnunet.config import ModelConfig
from deeppsma.models.tensors import parameters_of, unfit, uninitialised

if TYPE_CHECKING:
    import torch

MANIFEST_NAME, WEIGHTS_NAME = "manifest.json", "weights.safetensors"
#: Folder inside a member's own, with the member that stands in for it where a case lacks an organ map.
STAND_IN_FOLDER = "without-organ-maps"
FORMAT = 1
NOTICE = "Not for clinical use."

#: Networks that stay loaded, by folder, SHA-256, configuration and engine; None where each run loads its own.
_kept: dict[Hashable, Any] | None = None

_Kept = TypeVar("_Kept")


@dataclass(frozen=True)
class Member:
    """A network with its weights' place; the weights are read on demand.

    Parameters
    ----------
    name
        The folder's name.
    folder
        Where it lies.
    network
        The architecture.
    sha256
        Of the weights file.
    training
        Where the weights come from: settings, data, steps, figures.
    """

    name: str
    folder: Path
    network: NetworkConfig | ModelConfig
    sha256: str
    training: dict[str, Any] = field(default_factory=dict)

    @property
    def trained_on(self) -> str:
        """One line for reports: what the weights have seen, those that they started from included."""
        data, start = str(self.training.get("data", "unknown data")), self.training.get("start")
        if not isinstance(start, dict):
            return data
        return f"{data}, going on from {start.get('name', 'unknown weights')} ({start.get('data', 'unknown data')})"

    @property
    def does_without_organ_maps(self) -> bool:
        """Whether it was trained on cases without one, too."""
        settings = self.training.get("settings")
        drawn = settings.get("random_anatomy") if isinstance(settings, Mapping) else None
        share = drawn.get("no_map_share") if isinstance(drawn, Mapping) else None
        return isinstance(share, int | float) and share > 0

    def stand_in(self) -> Member | None:
        """The member for cases that lack an organ map: a folder ``without-organ-maps`` inside this one's; or None.

        Raises
        ------
        WeightsError
            If it is broken.
        """
        folder = self.folder / STAND_IN_FOLDER
        if not (folder / MANIFEST_NAME).is_file():
            return None
        return replace(read_member(folder), name=f"{self.name}-{STAND_IN_FOLDER}")

    def load(self) -> torch.nn.Module:
        """Network with these weights, ready to infer; a fresh one on the CPU unless `keep_networks` was called.

        Raises
        ------
        WeightsError
            If the file is missing, damaged, not the one of the manifest, or
            of another architecture.
        """
        return kept(("torch", str(self.folder), self.sha256, self.network), self._load)

    def _load(self) -> torch.nn.Module:
        import torch

        state, path = self.read_state()
        remedy = "copy the member's folder again, or train it again"
        # Held against the architecture before memory is taken for it.
        if found := unfit(state, parameters_of(lambda: _build(self.network))):
            raise WeightsError(path, found, remedy)
        with uninitialised():
            network = _build(self.network)
        expected = _parameters(network)
        with torch.no_grad():
            for key, tensor in state.items():
                expected[key].copy_(tensor)
        return network.eval()

    def read_state(self) -> tuple[Mapping[str, torch.Tensor], Path]:
        """Weights by parameter, verified to be those that ``sha256`` says; and their file, for messages."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        path = self.folder / WEIGHTS_NAME
        remedy = "copy the member's folder again, or train it again"
        try:
            content = path.read_bytes()
        except OSError as error:
            raise WeightsError(path, f"not readable ({error.strerror})", remedy) from None
        found = hashlib.sha256(content).hexdigest()
        if found != self.sha256:
            raise WeightsError(path, f"SHA-256 {found[:12]}..., the manifest says {self.sha256[:12]}...", remedy)
        try:
            return load(content), path
        except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
            raise_if_short(error)
            raise WeightsError(path, f"not a safetensors file ({error})", remedy) from None


def keep_networks() -> None:
    """Keep every network that is loaded from now on, for the life of this process: for one that runs many cases.

    Nobody may train or change what `Member.load` gives then.
    """
    global _kept  # noqa: PLW0603 - the process's, as its memory is
    if _kept is None:
        _kept = {}


def kept(key: Hashable, load: Callable[[], _Kept]) -> _Kept:
    """What is loaded under a key: anew each time, or once if `keep_networks` was called."""
    if _kept is None:
        return load()
    if key not in _kept:
        _kept[key] = load()
    found: _Kept = _kept[key]
    return found


def _build(config: NetworkConfig | ModelConfig) -> torch.nn.Module:
    if isinstance(config, NetworkConfig):
        return build_network(config)
    from deeppsma.models.nnunet.network import PlannedNetwork

    return PlannedNetwork(config.plan, len(config.folds), config.mirrored)


def _parameters(network: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """Parameters by name, each under its first name only; there are no buffers."""
    return dict(network.named_parameters())


def read_member(folder: Path) -> Member:
    """Read a member's manifest.

    Raises
    ------
    WeightsError
        If it is broken, of another format, or describes no valid network.
    """
    path = folder / MANIFEST_NAME
    remedy = "copy the member's folder again"
    content = read_json(path, remedy, WeightsError)
    if not isinstance(content, dict) or content.get("format") != FORMAT or content["format"] is True:
        raise WeightsError(path, f"not a manifest of format {FORMAT}", remedy)
    try:
        imported = "nnunet" in content
        config = ModelConfig.from_dict(content["nnunet"]) if imported else NetworkConfig.from_dict(content["network"])
        sha256, training = str(content["sha256"]), dict(content["training"])
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise WeightsError(path, f"not a valid manifest ({error})", remedy) from None
    return Member(folder.name, folder, config, sha256, training)


def write_member(
    folder: Path, network: NetworkConfig | ModelConfig, state: Mapping[str, torch.Tensor], training: dict[str, Any]
) -> Member:
    """Freeze weights with their manifest: our own kind in half precision, nnU-Net's as they are.

    Parameters
    ----------
    folder
        Made if it is not there.
    network
        The architecture.
    state
        The network's state dict. Only its parameters are kept, once each
        (DynUNet's state dict names most of them twice).
    training
        What the manifest says of the training; JSON values.

    Raises
    ------
    WeightsError
        If a weight is NaN or infinite, or becomes so; nothing is written.
    """
    import torch
    from safetensors.torch import save

    imported = not isinstance(network, NetworkConfig)
    kept = {key: state[key].detach().cpu() for key in _parameters(_build(network))}
    kept = {key: (v if imported else v.to(torch.float16)).contiguous() for key, v in kept.items()}
    if any(not torch.isfinite(tensor).all() for tensor in kept.values()):
        raise WeightsError(folder, "weights that are no numbers, or beyond half precision", "train it again, slower")
    folder.mkdir(parents=True, exist_ok=True)
    content = save(kept)
    sha256 = hashlib.sha256(content).hexdigest()
    (folder / WEIGHTS_NAME).write_bytes(content)
    manifest = {
        "format": FORMAT,
        "notice": NOTICE,
        "nnunet" if imported else "network": asdict(network),
        "sha256": sha256,
        "training": training,
    }
    write_json(folder / MANIFEST_NAME, manifest)
    return Member(folder.name, folder, network, sha256, training)
