"""``deeppsma weights import`` of a whole repository: each network in it becomes a member."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deeppsma.core.errors import ConfigurationError, OutputError, WeightsError
from deeppsma.core.tracer import Tracer
from deeppsma.models.gtrc.consensus import write_consensus
from deeppsma.models.nnunet.adopt import adopt_model
from deeppsma.models.repositories import Repository, read_published_consensus, refuse_missing_weights
from deeppsma.models.weights import write_member


@dataclass(frozen=True)
class Imported:
    """What an import made.

    Parameters
    ----------
    members
        Folders that were made, in alphabetical order.
    notes
        What was left out or is missing, a line each.
    """

    members: tuple[Path, ...]
    notes: tuple[str, ...]


def import_repository(source: Path, out: Path, mirrored: bool = False, folds: Sequence[str] = ()) -> Imported:
    """Make members of all that a repository holds.

    Parameters
    ----------
    source
        A clone of GTRC-Net, an nnUNet_results tree, or LesionTracer's folder.
    out
        Folder that the members' folders are made in; nothing there is replaced.
    mirrored
        Average over mirrored images, too, as nnU-Net does (the recipes ``gtrc`` and ``lesiontracer`` do anyway).
    folds
        Of the networks; none for all.

    Raises
    ------
    WeightsError
        If nothing is found, or something cannot be used; then nothing is made.
    ConfigurationError
        If a member of that name is there already.
    OutputError
        If it cannot be written.
    """
    found = Repository.of(source)
    if not found.models:
        refuse_missing_weights(source)
        remedy = "give a clone of GTRC-Net, an nnUNet_results folder, or a model folder"
        raise WeightsError(source, "no model of nnU-Net there", remedy)
    names = {name: name.replace("/", "__") for name in found.models}
    names |= {f"consensus-{tracer}": f"gtrc-consensus-{tracer}" for tracer in found.consensus}
    for name in names.values():
        if (out / name).exists():
            raise ConfigurationError(out / name, "is there already", "choose another folder, or remove it")
    try:
        out.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".importing-", dir=out))
    except OSError as error:
        raise OutputError(out, f"cannot be written ({error.strerror})", "choose another folder") from None
    try:
        _write_all(found, names, staging, mirrored, folds, source.resolve().name)
        for name in names.values():
            (staging / name).rename(out / name)
    except OSError as error:
        raise OutputError(out, f"cannot be written ({error.strerror})", "make room, or choose another folder") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    notes = list(found.left_out)
    if any(name.startswith("gtrc-") for name in found.models):
        without = [t.upper() for t in Tracer if f"gtrc-{t}" in found.models and t not in found.consensus]
        notes += [f"no consensus networks for {name}: choose recipe gtrc_quick" for name in without]
    return Imported(tuple(sorted(out / name for name in names.values())), tuple(notes))


def _write_all(
    found: Repository, names: dict[str, str], staging: Path, mirrored: bool, folds: Sequence[str], source: str
) -> None:
    for tracer, place in found.consensus.items():
        write_consensus(staging / names[f"consensus-{tracer}"], read_published_consensus(place, tracer), source)
    for name, place in found.models.items():
        member = adopt_model(name, place, mirrored, folds)
        state, _ = member.read_state()
        training = {**member.training, "imported_from": source}
        write_member(staging / names[name], member.network, state, training)
