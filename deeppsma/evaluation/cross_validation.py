"""``deeppsma crossval``: train what is missing, score every fold on what it has not seen, write the table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from deeppsma.core.errors import ConfigurationError, InputError
from deeppsma.core.settings import read_json, write_json
from deeppsma.core.tracer import Tracer
from deeppsma.evaluation.metrics import Scores
from deeppsma.evaluation.scoring import csv_table, read_references, score_masks, summary_table
from deeppsma.io.cohort import load_labelled
from deeppsma.models.store import ALL_MEMBERS, WeightsStore
from deeppsma.models.weights import MANIFEST_NAME, Member
from deeppsma.pipeline.method import Method
from deeppsma.pipeline.recipe import load_recipe
from deeppsma.pipeline.segment import segment
from deeppsma.reporting.pictures import kind_of_cohort
from deeppsma.training.command import TrainRequest, chosen_settings, load_settings, run_training, starting_member
from deeppsma.training.folds import Folds
from deeppsma.training.samples import case_folders, fingerprint

FOLDS_NAME, REQUEST_NAME, SCORES_NAME = "folds.json", "request.json", "scores.json"
TABLE_NAME, CSV_NAME = "crossval.md", "crossval.csv"

_ByTracer = dict[Tracer, list[Scores]]


@dataclass(frozen=True)
class CrossvalRequest:
    """What the command line asks for; see ``deeppsma crossval --help``.

    ``train`` is the request of any fold; its ``out`` is the folder of all.
    """

    train: TrainRequest
    recipe: str = "bothways"
    folds: int = 5


def run_crossval(request: CrossvalRequest) -> str:
    """Train and score all folds; returns the table, which also lies in OUT, with every case's scores as CSV.

    Folds that are trained are not trained again, folds that are scored are not
    scored again: an interrupted run goes on where it stopped.
    """
    out, data = request.train.out, request.train.data
    _check_recipe(request)
    folders = {folder.name: folder for folder in case_folders(data)}
    folds = _folds(out / FOLDS_NAME, list(folders), request.folds)
    _check_request(request, list(folders.values()))
    methods: dict[str, _ByTracer] = {}
    for number in range(len(folds.held_out)):
        place = out / f"fold_{number}"
        if not (place / request.train.name / MANIFEST_NAME).exists():
            run_training(
                replace(
                    request.train, out=place, fold=number, folds=out / FOLDS_NAME, samples=out / "samples", resume=True
                )
            )
        held_out = [folders[name] for name in folds.held_out[number]]
        methods[f"fold {number}"] = _scores(request, place, held_out)
    everyone = {tracer: [s for each in methods.values() for s in each[tracer]] for tracer in Tracer}
    table = summary_table({**methods, "all": everyone})
    (out / TABLE_NAME).write_text(table + "\n", encoding="utf-8")
    names = [name for fold in folds.held_out for name in fold]
    (out / CSV_NAME).write_text(csv_table({request.recipe: everyone}, names), encoding="utf-8")
    return table


@dataclass(frozen=True)
class Crossval:
    """A finished cross-validation.

    Parameters
    ----------
    members
        One per fold, named ``fold 0`` and so on.
    scores
        Of each fold's held-out cases.
    patients
        "synthetic" or "real".
    recipe
        Whose scores these are.
    cases
        Fingerprints of the cases that it has seen.
    """

    members: dict[str, Member]
    scores: dict[str, _ByTracer]
    patients: str
    recipe: str
    cases: frozenset[str]


def read_crossval(out: Path) -> Crossval:
    """What ``deeppsma crossval`` has left in a folder.

    Raises
    ------
    InputError
        If there is none, or a fold is not trained, or not scored.
    """
    remedy = "give OUT of a finished 'deeppsma crossval'"
    if not (out / FOLDS_NAME).is_file():
        raise InputError(out, "no cross-validation there", remedy)
    request = read_json(out / REQUEST_NAME, remedy)
    members, scores, kinds = {}, {}, set()
    for number in range(len(Folds.read(out / FOLDS_NAME).held_out)):
        place = out / f"fold_{number}"
        store = WeightsStore((place,))
        of_fold = _kept(place / SCORES_NAME)
        if of_fold is None or len(store.names()) != 1:
            raise InputError(place, "not trained, or not scored", "let 'deeppsma crossval' finish")
        members[f"fold {number}"] = replace(store.member(store.names()[0]), name=f"fold {number}")
        scores[f"fold {number}"] = of_fold
        kinds.add(read_json(place / SCORES_NAME, remedy).get("patients", "real"))
    cases = frozenset(map(str, request.get("cases", {}).values()))
    patients = "synthetic" if kinds == {"synthetic"} else "real"
    return Crossval(members, scores, patients, str(request.get("recipe", "unknown recipe")), cases)


def _folds(path: Path, names: Sequence[str], count: int) -> Folds:
    if path.exists():
        folds = Folds.read(path)
        if folds.names != sorted(names) or len(folds.held_out) != count:
            raise InputError(path, "folds of other cases, or another number of them", "choose another folder")
        return folds
    try:
        folds = Folds.draw(names, count)
    except ValueError as error:
        raise ConfigurationError("--folds", f"{count} folds of {len(names)} cases: {error}", "give fewer") from None
    path.parent.mkdir(parents=True, exist_ok=True)
    folds.write(path)
    return folds


def _check_recipe(request: CrossvalRequest) -> None:
    if load_settings(request.train.settings, request.train.tracer)[0].exclusive:
        found = f"{request.train.settings} serves one tracer, and a fold is scored on both"
        raise ConfigurationError("--settings", found, "train its folds with 'deeppsma train --fold'")
    recipe = load_recipe(request.recipe)
    if recipe.members not in ((ALL_MEMBERS,), (request.train.name,)):
        found = f"asks for {', '.join(recipe.members)}, and the folds are named {request.train.name}"
        raise ConfigurationError(f"recipe {request.recipe}", found, "choose a recipe of this one member")


def _check_request(request: CrossvalRequest, folders: Sequence[Path]) -> None:
    """Folds of one table are of one training: refuse a folder that another request has begun."""
    train = request.train
    network, config = chosen_settings(train)
    start = starting_member(train.start)
    asked: dict[str, Any] = {
        "recipe": request.recipe,
        "settings": train.settings,
        "steps": train.steps,
        "seed": train.seed,
        "start": start.sha256 if start else "",
        "network": asdict(network),
        "config": asdict(config),
        "tracer": train.tracer,
        "truth": train.truth,
        "cases": {folder.name: fingerprint(folder) for folder in folders},
    }
    asked = json.loads(json.dumps(asked))
    path = train.out / REQUEST_NAME
    if not path.exists():
        write_json(path, asked)
        return
    begun = read_json(path, "choose another folder")
    differs = [key for key, value in asked.items() if begun.get(key) != value]
    if differs:
        raise InputError(path, f"another request was begun here (other {', '.join(differs)})", "choose another folder")


def _scores(request: CrossvalRequest, place: Path, held_out: Sequence[Path]) -> _ByTracer:
    """Scores of the held-out cases, kept beside the member that they are of."""
    store, recipe = WeightsStore((place,)), load_recipe(request.recipe)
    of = {
        **Method.choose(recipe, store).identity,
        "cases": {folder.name: fingerprint(folder) for folder in held_out},
    }
    of = json.loads(json.dumps(of))  # as it will be read back
    kept = _kept(place / SCORES_NAME, of)
    if kept is not None:
        return kept
    scores: _ByTracer = {tracer: [] for tracer in Tracer}
    fallbacks: set[str] = set()
    for folder in tqdm(held_out, desc=f"score {place.name}", disable=None):
        labelled = load_labelled(folder)
        found = segment(labelled.case, recipe, store, request.train.device)
        fallbacks |= {f"{folder.name}: {line}" for line in found.report.fallbacks}
        for tracer, of_case in score_masks(found.masks, read_references(labelled)).items():
            scores[tracer].append(of_case)
    content = {
        "of": of,
        "patients": kind_of_cohort(held_out),
        "fallbacks": sorted(fallbacks),
        "scores": {tracer.value: [asdict(each) for each in scores[tracer]] for tracer in Tracer},
    }
    write_json(place / SCORES_NAME, content)
    return scores


def _kept(path: Path, of: dict[str, Any] | None = None) -> _ByTracer | None:
    """Scores of an earlier run; where ``of`` is given, only those of that very member, recipe and cases."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if of is None or content["of"] == of:
            return {tracer: [Scores(**each) for each in content["scores"][tracer.value]] for tracer in Tracer}
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not there, or of another version: scored anew
    return None
