"""``deeppsma weights import``: weights of other programs become members. Nothing of theirs is executed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deeppsma.core.errors import ConfigurationError, WeightsError
from deeppsma.core.tracer import Tracer
from deeppsma.models.config import NetworkConfig
from deeppsma.models.nnunet.adopt import model_config, model_state, refuse_swapped
from deeppsma.models.nnunet.config import ModelConfig
from deeppsma.models.nnunet.folder import CHECKPOINT, read_checkpoint, read_model_folder
from deeppsma.models.weights import MANIFEST_NAME, Member, write_member

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class ImportRequest:
    """What the command line asks for; see ``deeppsma weights import --help``."""

    source: Path
    out: Path
    tracer: str = ""
    channels: tuple[str, ...] = ()
    folds: tuple[str, ...] = ()
    checkpoint: str = CHECKPOINT
    mirrored: bool = False
    describe: str = ""


def import_weights(request: ImportRequest, cds: NetworkConfig) -> Member:
    """Make a member of an nnU-Net model folder, or of a Lightning checkpoint of the CDS network.

    Parameters
    ----------
    request
        What to import.
    cds
        The network that a single checkpoint is taken for.

    Raises
    ------
    WeightsError
        If the source is neither, or not known; one line.
    ConfigurationError
        If it must be said what a model is for, or is fed.
    """
    if (request.out / MANIFEST_NAME).exists():
        raise ConfigurationError(request.out, "a member is there", "choose another folder")
    if request.source.is_file():
        network: NetworkConfig | ModelConfig = cds
        state = _lightning(read_checkpoint(request.source), cds, request.source)
    elif request.source.is_dir():
        model = read_model_folder(request.source, request.folds, request.checkpoint)
        if request.tracer not in set(Tracer):
            raise ConfigurationError("--tracer", "an nnU-Net model sees one tracer's scans", "name psma or fdg")
        refuse_swapped(request.source, model.dataset_name, Tracer(request.tracer))
        network = model_config(model, Tracer(request.tracer), request.source, request.channels, request.mirrored)
        state = model_state(model)
    else:
        raise WeightsError(request.source, "no such file or folder", "give a model folder, or a checkpoint")
    training = {
        "data": request.describe or f"unknown data; imported from {request.source.name}",
        "imported_from": request.source.name,
    }
    return write_member(request.out, network, state, training)


def _lightning(content: Mapping[str, Any], network: NetworkConfig, path: Path) -> dict[str, torch.Tensor]:
    """Weights of the CDS network, whatever its module called it."""
    from deeppsma.models.build import build_network

    found = content.get("state_dict", content)
    wanted = {key: tuple(value.shape) for key, value in build_network(network).named_parameters()}
    remedy = "give a Lightning checkpoint of the CDS network"
    if not isinstance(found, Mapping) or not all(isinstance(key, str) for key in found):
        raise WeightsError(path, "no state dict", remedy)
    # A name that ends as ours: what stands before it is what the module was called.
    inner = next(iter(wanted)).removeprefix("unet.")
    before = next((key.removesuffix(inner) for key in found if key.endswith(inner)), None)
    if before is None:
        raise WeightsError(path, f"no {inner} among its weights", remedy)
    state = {key: found.get(before + key.removeprefix("unet.")) for key in wanted}
    for key, shape in wanted.items():
        value = state[key]
        if value is None or tuple(value.shape) != shape:
            raise WeightsError(path, f"no weights of shape {shape} for {key}", remedy)
    return {key: value for key, value in state.items() if value is not None}
