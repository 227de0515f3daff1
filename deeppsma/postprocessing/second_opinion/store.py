"""Second opinions on disk: a folder with trees as plain arrays (safetensors) and a card (JSON)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deeppsma.core.errors import ConfigurationError, WeightsError
from deeppsma.core.settings import read_json, resources_folder, write_json
from deeppsma.core.tracer import Tracer
from deeppsma.models.weights import STAND_IN_FOLDER
from deeppsma.postprocessing.second_opinion.decide import Role, SecondOpinion
from deeppsma.postprocessing.second_opinion.trees import Forest

KIND, CARD_NAME = "second_opinion", "card.json"
_FORMAT = 2


@dataclass(frozen=True)
class SecondOpinions:
    """The models of both tracers that belong together.

    Parameters
    ----------
    name
        For the run report.
    models
        By tracer.
    sha256
        Of the files with the trees, by tracer.
    trained_on
        In words.
    of_weights
        SHA-256 of the weights whose logits the trees have learnt from; empty if
        the card does not say.
    """

    name: str
    models: Mapping[Tracer, SecondOpinion]
    sha256: Mapping[Tracer, str]
    trained_on: str
    of_weights: tuple[str, ...] = ()


def load_second_opinions(name: str) -> SecondOpinions:
    """The models of ``resources/second_opinion/{name}``, or of a folder (a name with a ``/`` in it).

    Raises
    ------
    ConfigurationError
        If there are none of that name.
    WeightsError
        If a file is damaged, or not the one that the card belongs to.
    """
    folder = _folder_of(name)
    card_path = folder / CARD_NAME
    if not card_path.is_file():
        there = sorted(path.parent.name for path in (resources_folder() / KIND).glob(f"*/{CARD_NAME}"))
        raise ConfigurationError(KIND, f"no {name!r} there", f"choose one of {', '.join(there) or 'none'}, or a folder")
    card = read_json(card_path, "fetch the folder again", WeightsError)
    try:
        _check_format(card["format"])
        models = {tracer: _read(folder, tracer, card["tracers"][tracer.value]) for tracer in Tracer}
        sha256 = {tracer: str(card["tracers"][tracer.value]["sha256"]) for tracer in Tracer}
        of_weights = tuple(str(each) for each in card.get("of_weights", ()))
        return SecondOpinions(folder.name, models, sha256, str(card["trained_on"]), of_weights)
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(card_path, f"no second opinion ({error})", "fetch the folder again") from None


def stand_in_of(name: str) -> str:
    """Name of the models for cases that lack an organ map, inside these as a member's stand-in; empty if none.

    Parameters
    ----------
    name
        As for `load_second_opinions`.
    """
    folder = _folder_of(name) / STAND_IN_FOLDER
    return str(folder) if (folder / CARD_NAME).is_file() else ""


def _folder_of(name: str) -> Path:
    return Path(name) if "/" in name else resources_folder() / KIND / name


def _check_format(found: Any) -> None:
    if found != _FORMAT:
        raise ValueError(f"format {found}, not {_FORMAT}")


def write_second_opinions(
    folder: Path, models: Mapping[Tracer, SecondOpinion], trained_on: str, more: Mapping[str, Any]
) -> None:
    """Write models and their card; the card last.

    Parameters
    ----------
    folder
        Made if it is not there.
    models
        Of both tracers.
    trained_on
        In words.
    more
        Goes into the card: figures, how they were made.
    """
    from safetensors.numpy import save

    folder.mkdir(parents=True, exist_ok=True)
    tracers = {}
    for tracer, model in models.items():
        arrays = {
            f"{number}.{name}": np.ascontiguousarray(array)
            for number, forest in enumerate(model.forests)
            for name, array in forest.as_arrays().items()
        }
        content = save(arrays)
        (folder / _trees_name(tracer)).write_bytes(content)
        tracers[tracer.value] = {
            "sha256": hashlib.sha256(content).hexdigest(),
            "forests": len(model.forests),
            "offset": model.offset,
            "within": model.within,
            "role": model.role.value,
            "features": list(model.features),
            **model.card,
        }
    write_json(folder / CARD_NAME, {"format": _FORMAT, "trained_on": trained_on, **more, "tracers": tracers})


def _read(folder: Path, tracer: Tracer, card: Mapping[str, Any]) -> SecondOpinion:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = folder / _trees_name(tracer)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(path, f"not readable ({error.strerror})", "fetch the folder again") from None
    if hashlib.sha256(content).hexdigest() != card["sha256"]:
        raise WeightsError(path, "not the file that the card belongs to", "fetch the folder again")
    try:
        arrays = load(content)
    except SafetensorError as error:
        raise WeightsError(path, f"not readable ({error})", "fetch the folder again") from None
    forests = []
    for number in range(int(card["forests"])):
        start = f"{number}."
        forests.append(Forest.from_arrays({k.removeprefix(start): v for k, v in arrays.items() if k.startswith(start)}))
    features = tuple(str(each) for each in card["features"])
    known = {"sha256", "forests", "offset", "within", "role", "features"}
    rest = {key: value for key, value in card.items() if key not in known}
    # Cards of before judge a focus as a whole.
    within = float(card.get("within", 0.0))
    return SecondOpinion(tracer, features, tuple(forests), float(card["offset"]), Role(card["role"]), rest, within)


def _trees_name(tracer: Tracer) -> str:
    return f"{tracer}.safetensors"
