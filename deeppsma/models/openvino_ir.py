"""A member's network in OpenVINO's own format, an IR: converted from MONAI's once, and kept.

An IR starts in 0.3 s; torch and MONAI take 2.5 s to be imported alone. It is kept under the weights' SHA-256, the
network's configuration and OpenVINO's version, so that other weights or another release get one of their own.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from deeppsma.core.whole_files import whole_file
from deeppsma.models.config import NetworkConfig
from deeppsma.models.weights import Member

#: Names the folder that converted networks are kept in.
CACHE_VARIABLE = "DEEPPSMA_CACHE"
#: Raised when networks are converted in another way.
_IR_VERSION = 1


@dataclass(frozen=True)
class NetworkIr:
    """A network as OpenVINO reads it; any number of voxels along z, y and x.

    Parameters
    ----------
    topology
        XML.
    weights
        Half precision, as the member's own.
    """

    topology: bytes
    weights: bytes


def network_ir(member: Member, note: Callable[[str], None], cache: Path | None = None) -> NetworkIr:
    """The IR of a member: the one that was kept, or a new one.

    Parameters
    ----------
    member
        With a network of our own kind.
    note
        Told if the IR was damaged, or cannot be kept.
    cache
        Where IRs are kept; `cache_folder` unless told.

    Raises
    ------
    WeightsError
        If the member's weights cannot be used.
    """
    folder = cache_folder() if cache is None else cache
    path = None if folder is None else folder / f"{member.name}-{_key(member)}.npz"
    if path is not None and path.exists():
        try:
            return _read(path)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            note(f"{path}: damaged ({error}): {member.name} was converted for OpenVINO anew")
    ir = _converted(member)
    try:
        _keep(ir, path)
    except OSError as error:
        remedy = f"every run takes some seconds more; let {CACHE_VARIABLE} name a folder that can be written to"
        note(f"{member.name} as converted for OpenVINO cannot be kept ({error.strerror or error}): {remedy}")
    return ir


def cache_folder() -> Path | None:
    """``DEEPPSMA_CACHE``, else ``deeppsma`` in the user's cache; None for a user without a home."""
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named)
    above = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Path(above).expanduser() / "deeppsma"
    except RuntimeError:
        return None


def _key(member: Member) -> str:
    facts = [_IR_VERSION, version("openvino"), member.sha256, asdict(member.network)]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]


def _read(path: Path) -> NetworkIr:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as content:  # a zip, whose checksums tell damage
        return NetworkIr(content["topology"].tobytes(), content["weights"].tobytes())


def _keep(ir: NetworkIr, path: Path | None) -> None:
    if path is None:
        raise OSError("this user has no home")
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial, partial.open("wb") as file:
        np.savez(file, topology=np.frombuffer(ir.topology, np.uint8), weights=np.frombuffer(ir.weights, np.uint8))


def _converted(member: Member) -> NetworkIr:
    # The frontend itself, not openvino.convert_model: that one tells its maker about each use.
    import openvino
    import torch
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    network = member.network
    if not isinstance(network, NetworkConfig):
        raise TypeError(f"{member.name} is no network of our own kind")
    example = torch.zeros(1, len(network.channels), *network.patch_zyx)
    frontend = FrontEndManager().load_by_framework("pytorch")
    with warnings.catch_warnings():
        # What OpenVINO asks torch for still works there, on borrowed time.
        warnings.filterwarnings("ignore", ".*torch.jit.* is deprecated", DeprecationWarning)
        # Of shapes, which each window's size sets anew.
        warnings.filterwarnings("ignore", category=torch.jit._trace.TracerWarning)
        decoder = TorchScriptPythonDecoder(member.load(), example_input=example)
    model = frontend.convert(frontend.load(decoder))  # looks into the decoder until it is done
    model.reshape([1, len(network.channels), -1, -1, -1])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.xml"
        openvino.save_model(model, path, compress_to_fp16=True)  # loses nothing: frozen weights are half precision
        return NetworkIr(path.read_bytes(), path.with_suffix(".bin").read_bytes())
