"""``deeppsma crossval``: train what is missing, score every fold on what it has not seen, write the table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tqdm import tqdm

from deeppsma.cohort import load_labelled
from deeppsma.errors import ConfigurationError, InputError
from deeppsma.metrics import Scores, score
from deeppsma.recipe import load_recipe
from deeppsma.scoring import csv_table, summary_table
from deeppsma.segment import segment
from deeppsma.tracer import Tracer
from deeppsma.training.command import TrainRequest, run_training
from deeppsma.training.folds import Folds
from deeppsma.training.samples import case_folders
from deeppsma.weights import MANIFEST_NAME, WeightsStore

FOLDS_NAME, SCORES_NAME, TABLE_NAME, CSV_NAME = "folds.json", "scores.json", "crossval.md", "crossval.csv"

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
    folders = {folder.name: folder for folder in case_folders(data)}
    folds = _folds(out / FOLDS_NAME, list(folders), request.folds)
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


def _scores(request: CrossvalRequest, place: Path, held_out: Sequence[Path]) -> _ByTracer:
    """Scores of the held-out cases, kept beside the member that they are of."""
    store, recipe = WeightsStore((place,)), load_recipe(request.recipe)
    of = {"recipe": request.recipe, "sha256": [member.sha256 for member in store.choose(recipe.members)]}
    kept = place / SCORES_NAME
    if kept.exists():
        content = json.loads(kept.read_text(encoding="utf-8"))
        if content["of"] == of and content["cases"] == [folder.name for folder in held_out]:
            return {tracer: [Scores(**each) for each in content["scores"][tracer.value]] for tracer in Tracer}
    scores: _ByTracer = {tracer: [] for tracer in Tracer}
    for folder in tqdm(held_out, desc=f"score {place.name}", disable=None):
        labelled = load_labelled(folder)
        masks = segment(labelled.case, recipe, store, request.train.device).masks
        for tracer in Tracer:
            pet, truth = labelled.case.study(tracer).read_pet(), labelled.truths[tracer].read()
            volume_ml = truth.geometry.voxel_volume_ml
            scores[tracer].append(score(masks[tracer].voxels > 0, truth.voxels > 0, pet.voxels, volume_ml))
    content = {
        "of": of,
        "cases": [folder.name for folder in held_out],
        "scores": {tracer.value: [asdict(each) for each in scores[tracer]] for tracer in Tracer},
    }
    kept.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return scores
