"""Public repositories of networks as their authors lay them out: what is where, and what it is called here.

GTRC-Net's two repositories hold nnU-Net's results and consensus networks; LesionTracer is one model folder for both
tracers; an nnUNet_results tree holds whatever was trained there. Nothing is read but names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deeppsma.core.errors import WeightsError
from deeppsma.core.tracer import Tracer
from deeppsma.models.gtrc.consensus import CONSENSUS_MANIFEST, Consensus, read_frozen_consensus
from deeppsma.models.gtrc.keras_file import read_keras_file
from deeppsma.models.nnunet.adopt import find_models, plans_without_folds, tracer_of
from deeppsma.models.nnunet.folder import missing_fold

_GTRC_RESULTS = Path("data/nnUNet_data/results")
#: In a folder's name: LesionTracer, trained for autoPET III on both tracers.
_LESIONTRACER = "autopet3_trainer"
_KERAS_NAME = "consensus_model.keras"


@dataclass(frozen=True)
class Repository:
    """What a folder holds.

    Parameters
    ----------
    models
        Model folders of nnU-Net by the member's name: ``gtrc-psma``, ``gtrc-fdg``, ``lesiontracer-psma``,
        ``lesiontracer-fdg``, or the path from the folder.
    consensus
        By tracer: where GTRC-Net's consensus networks lie, ``fold_*`` of them.
    left_out
        What was found and is of no use here, a line each.
    """

    models: Mapping[str, Path]
    consensus: Mapping[Tracer, Path]
    left_out: tuple[str, ...] = ()

    @classmethod
    def of(cls, folder: Path) -> Repository:
        """Look through a folder; it may hold nothing."""
        results = folder / _GTRC_RESULTS
        clone = results.is_dir()
        models: dict[str, Path] = {}
        left_out = []
        for name, place in find_models(results if clone else folder).items():
            if "spect" in name.lower():
                left_out.append(f"{name} is for SPECT: left out, only PET is segmented here")
                continue
            for ours in _names_here(name, place, clone):
                # Two models for one tracer: the first has the short name.
                models[ours if ours not in models else name] = place
        consensus = {t: folder / f"data/{t.upper()}/subregion_metrics" for t in Tracer} if clone else {}
        found = {tracer: place for tracer, place in consensus.items() if any(place.glob("fold_*"))}
        return cls(models, found, tuple(left_out))


def refuse_missing_weights(folder: Path) -> None:
    """Refuse a folder that has plans of nnU-Net and nothing that was trained by them.

    Raises
    ------
    WeightsError
        One line that names the first place.
    """
    results = folder / _GTRC_RESULTS
    places = plans_without_folds(results if results.is_dir() else folder)
    if places:
        found = "plans.json without weights: no fold_*/checkpoint_final.pth beside it"
        remedy = "copy or download the whole model folder, fold_* with it (a clone of GTRC-Net has them by Git LFS)"
        raise WeightsError(places[0], found, remedy)


def _names_here(name: str, place: Path, clone: bool) -> list[str]:
    if _LESIONTRACER in place.resolve().name.lower():
        return [f"lesiontracer-{tracer}" for tracer in Tracer]
    tracer = tracer_of(name)
    return [f"gtrc-{tracer}" if clone and tracer is not None else name]


def read_published_consensus(folder: Path, tracer: Tracer) -> Consensus:
    """Read GTRC-Net's consensus networks of a tracer, ``fold_*/consensus_model.keras``.

    Raises
    ------
    WeightsError
        One line: if a fold's network is missing, or is none.
    """
    networks = {}
    for place in sorted(path for path in folder.glob("fold_*") if path.is_dir()):
        if not (place / _KERAS_NAME).is_file():
            raise WeightsError(place, f"no {_KERAS_NAME} there", "clone the repository again, or choose gtrc_quick")
        networks[place.name.removeprefix("fold_")] = read_keras_file(place / _KERAS_NAME)
    if gap := missing_fold(list(networks)):
        raise WeightsError(folder, f"no fold_{gap} there, but folds {' '.join(networks)}", "clone the repository again")
    if not networks:
        raise WeightsError(folder, f"no fold_*/{_KERAS_NAME} there", "clone the repository again")
    return Consensus(tracer, networks, f"GTRC-Net's {tracer.upper()} foci, by its authors")


def find_consensus(folder: Path, tracer: Tracer) -> Consensus | None:
    """Consensus networks of a tracer: frozen ones in a folder of members, or a clone's; None where there are none.

    Raises
    ------
    WeightsError
        If they are there and cannot be used.
    """
    for manifest in sorted(folder.glob(f"*/{CONSENSUS_MANIFEST}")):
        consensus = read_frozen_consensus(manifest.parent)
        if consensus.tracer is tracer:
            return consensus
    published = Repository.of(folder).consensus
    return read_published_consensus(published[tracer], tracer) if tracer in published else None
