"""Read a ``.keras`` file of dense layers. Nothing in it is executed.

Such a file is a zip of ``config.json`` (the layers) and ``model.weights.h5`` (their numbers). Keras itself builds
whatever classes the configuration names, code in it included; here only three kinds of layers are known, by name, and
anything else is refused.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.errors import ConfigurationError, WeightsError
from deeppsma.models.git_lfs import refuse_lfs_pointer
from deeppsma.models.gtrc.consensus import FEATURES, ConsensusNetwork

#: Unpacked. GTRC-Net's are 70 kB each.
MAX_BYTES = 16 * 2**20
_REMEDY = "copy the file again; if that does not help, it is no consensus network of GTRC-Net"


def read_keras_file(path: Path) -> ConsensusNetwork:
    """Read a consensus network.

    Parameters
    ----------
    path
        ``consensus_model.keras``.

    Raises
    ------
    WeightsError
        One line: a file that is missing, damaged, a Git LFS pointer, too large once unpacked, of other layers than
        InputLayer, Dense and Dropout, or with weights of other shapes, not finite, or kept in another file.
    ConfigurationError
        If h5py is not installed.
    """
    content = _unzipped(path)
    activations, widths = _layers(content["config.json"], path)
    kernels, biases = _weights(content["model.weights.h5"], widths, path)
    if activations != ["relu"] * (len(activations) - 1) + ["sigmoid"]:
        raise WeightsError(path, f"activations {', '.join(activations)}, known are relu and a last sigmoid", _REMEDY)
    try:
        return ConsensusNetwork(tuple(kernels), tuple(biases))
    except ValueError as error:
        raise WeightsError(path, str(error), _REMEDY) from None


def _unzipped(path: Path) -> dict[str, bytes]:
    wanted = ("config.json", "model.weights.h5")
    try:
        refuse_lfs_pointer(path)
        with zipfile.ZipFile(path) as archive:
            content = {}
            for name in wanted:
                with archive.open(name) as file:
                    # What the archive says of its sizes is not trusted.
                    content[name] = file.read(MAX_BYTES + 1)
                if len(content[name]) > MAX_BYTES:
                    raise WeightsError(path, f"{name} unpacks to more than {MAX_BYTES >> 20} MiB", _REMEDY)
            return content
    except OSError as error:
        raise WeightsError(path, f"not readable ({error.strerror or error})", _REMEDY) from None
    except KeyError as error:
        raise WeightsError(path, f"no Keras 3 file ({error.args[0]})", _REMEDY) from None
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise WeightsError(path, f"damaged, or no Keras 3 file ({error})", _REMEDY) from None


def _layers(config: bytes, path: Path) -> tuple[list[str], list[int]]:
    """Activation and width of each dense layer."""
    activations, widths = [], []
    try:
        model = json.loads(config)
        if model["class_name"] != "Sequential" or model["module"] != "keras":
            raise WeightsError(path, f"a {model['class_name']} model, known is Sequential", _REMEDY)
        for layer in model["config"]["layers"]:
            kind = layer["class_name"]
            if kind not in ("InputLayer", "Dense", "Dropout") or layer["module"] != "keras.layers":
                raise WeightsError(path, f"a layer {str(kind)[:40]!r}, known are InputLayer, Dense, Dropout", _REMEDY)
            if kind == "Dense":
                activations.append(_activation(layer["config"], path))
                widths.append(int(layer["config"]["units"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(path, f"config.json is none of Keras 3 ({str(error)[:80]!r})", _REMEDY) from None
    return activations, widths


def _activation(config: dict[str, Any], path: Path) -> str:
    name = config["activation"]
    if not isinstance(name, str) or config["use_bias"] is not True:
        raise WeightsError(path, "a dense layer with an activation of its own, or without bias", _REMEDY)
    return name


def _weights(
    content: bytes, widths: list[int], path: Path
) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
    try:
        import h5py
    except ImportError:
        found = "reading Keras files takes h5py, which is not installed"
        raise ConfigurationError(path, found, "pip install 'deeppsma[keras]'") from None
    kernels, biases, width = [], [], len(FEATURES)
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            for number, units in enumerate(widths):
                place = f"layers/dense{f'_{number}' if number else ''}/vars"
                kernels.append(_dataset(file, f"{place}/0", (width, units), path))
                biases.append(_dataset(file, f"{place}/1", (units,), path))
                width = units
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise WeightsError(path, f"damaged weights ({' '.join(str(error).split())[:80]})", _REMEDY) from None
    return kernels, biases


def _dataset(file: Any, name: str, shape: tuple[int, ...], path: Path) -> NDArray[np.float32]:
    """One table of numbers that lies in the file itself; HDF5 can also point to other files."""
    import h5py

    node = file
    for part in name.split("/"):
        if not isinstance(node, h5py.Group) or part not in node:
            raise WeightsError(path, f"no weights {name}", _REMEDY)
        if not isinstance(node.get(part, getlink=True), h5py.HardLink):
            raise WeightsError(path, f"weights {name} are a link elsewhere", "do not trust this file")
        node = node[part]
    if not isinstance(node, h5py.Dataset) or node.external or node.is_virtual:
        raise WeightsError(path, f"weights {name} are not in the file itself", "do not trust this file")
    if node.shape != shape or node.dtype.kind != "f":
        raise WeightsError(path, f"weights {name} are {node.dtype} {node.shape}, not numbers {shape}", _REMEDY)
    return np.asarray(node[()], np.float32)
