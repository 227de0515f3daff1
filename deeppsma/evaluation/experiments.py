"""``deeppsma experiments``: the tables of the CDS report, and a FROC, on a cohort."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from deeppsma.core.defaults import CDS_RECIPES, SUBMITTED_RECIPE
from deeppsma.core.errors import ConfigurationError, InputError
from deeppsma.core.settings import write_json
from deeppsma.core.tracer import Tracer
from deeppsma.evaluation.cross_validation import Crossval, read_crossval
from deeppsma.evaluation.froc import CUTOFFS, draw_froc, froc, froc_table
from deeppsma.evaluation.methods import TRIVIAL, CaseScores, score_case
from deeppsma.evaluation.metrics import LesionCounts, Scores
from deeppsma.evaluation.removals import Removal, removals_csv, removals_table
from deeppsma.evaluation.report_tables import beside_the_report, means, orders, reported
from deeppsma.evaluation.scoring import CohortScores, csv_table, rank, rank_table, summary_table
from deeppsma.io.cohort import cohort_folders, load_labelled
from deeppsma.models.store import WeightsStore
from deeppsma.models.weights import NOTICE
from deeppsma.pipeline.method import Method
from deeppsma.pipeline.recipe import load_recipe
from deeppsma.reporting.pictures import kind_of_cohort
from deeppsma.training.samples import fingerprint

_LOGGER = logging.getLogger(__name__)
REPORT_NAME, CSV_NAME, FROC_NAME, SCORES_FOLDER = "experiments.md", "experiments.csv", "froc.png", "scores"
#: A row per lesion that refinement took away; written where a recipe refines.
REMOVALS_NAME = "removals.csv"


@dataclass(frozen=True)
class ExperimentsRequest:
    """What the command line asks for; see ``deeppsma experiments --help``."""

    cohort: Path
    out: Path
    recipes: tuple[str, ...] = CDS_RECIPES
    weights: Path | None = None
    crossval: Path | None = None
    device: str = "auto"
    froc: str = ""


def run_experiments(request: ExperimentsRequest) -> str:
    """Score methods on a cohort; returns the tables, which also lie in OUT.

    Cases that are scored are not scored again, unless they, the methods or
    their weights have changed.
    """
    crossval = read_crossval(request.crossval) if request.crossval is not None else None
    methods = _methods(request, crossval)
    swept = _swept(request.froc, [(method.name, method.recipe.consensus is None) for method in methods])
    folders = cohort_folders(request.cohort)
    if crossval is not None and any(fingerprint(folder) in crossval.cases for folder in folders):
        raise InputError(request.cohort, "cases of the cross-validation itself", "give a cohort that it has not seen")
    (request.out / SCORES_FOLDER).mkdir(parents=True, exist_ok=True)
    cases = [_of_case(folder, methods, swept, request) for folder in tqdm(folders, desc="cases", disable=None)]
    scores: dict[str, CohortScores] = {
        name: {tracer: [case.scores[name][tracer] for case in cases] for tracer in Tracer}
        for name in (TRIVIAL, *(method.name for method in methods))
    }
    people = f"{len(folders)} {kind_of_cohort(folders)}"
    fallbacks = [line for method in methods for line in method.notes]
    fallbacks += [
        f"{folder.name}: {line}" for folder, case in zip(folders, cases, strict=True) for line in case.fallbacks
    ]
    text = _text(methods, scores, crossval, people, _froc(swept, cases, people, request.out / FROC_NAME))
    removals = {m.name: [case.removals[m.name] for case in cases] for m in methods if m.recipe.refinement}
    if removals:
        text += f"\n## What refinement took away\n\n{removals_table(removals)}\n"
        names = [folder.name for folder in folders]
        (request.out / REMOVALS_NAME).write_text(removals_csv(removals, names), encoding="utf-8")
    if fallbacks:
        text += "\n## What did not go as planned\n\n" + "\n".join(f"- {line}" for line in fallbacks) + "\n"
    (request.out / REPORT_NAME).write_text(text, encoding="utf-8")
    (request.out / CSV_NAME).write_text(csv_table(scores, [folder.name for folder in folders]), encoding="utf-8")
    return text


def _swept(wanted: str, recipes: Sequence[tuple[str, bool]]) -> str:
    """Whose cutoff is moved: the one that is named, else the submitted recipe, else the first that has a cutoff.

    Recipes come with whether they have one; where none has, the answer is empty.
    """
    names = [name for name, has_cutoff in recipes if has_cutoff]
    if wanted and wanted not in names:
        there = ", ".join(names) or "none of these has one"
        raise ConfigurationError("--froc", wanted, f"choose one of the recipes that have a cutoff: {there}")
    return wanted or (SUBMITTED_RECIPE if SUBMITTED_RECIPE in names else next(iter(names), ""))


def _froc(swept: str, cases: Sequence[CaseScores], people: str, picture: Path) -> str:
    """The section on the FROC, whose picture is drawn; a line where no recipe has a cutoff to move."""
    if not swept:
        return "No FROC: none of the recipes has a cutoff that could be moved."
    curves = {tracer: froc([case.sweep[tracer] for case in cases]) for tracer in Tracer}
    try:
        draw_froc(curves, f"{swept}, {people} patients", picture)
    except ImportError:
        _LOGGER.warning("no picture of the FROC: matplotlib is not installed")
    return f"## FROC, {swept}\n\n{froc_table(curves)}"


def _methods(request: ExperimentsRequest, crossval: Crossval | None) -> list[Method]:
    """The recipes with their members; the ensemble is that of the folds, where folds are given."""
    if not request.recipes or len(set(request.recipes)) != len(request.recipes):
        raise ConfigurationError("--recipes", f"{request.recipes}", "name each recipe once")
    store = WeightsStore.default(request.weights)
    methods = []
    for name in request.recipes:
        recipe = load_recipe(name)
        if crossval is not None and name == "ensemble":
            methods.append(Method(recipe, tuple(crossval.members.values())))
        else:
            methods.append(Method.choose(recipe, store))
    if len({method.name for method in methods}) != len(methods):
        raise ConfigurationError("--recipes", "two files of one name", "rename one of them")
    return methods


def _of_case(folder: Path, methods: Sequence[Method], swept: str, request: ExperimentsRequest) -> CaseScores:
    of = {
        "case": fingerprint(folder),
        "methods": {method.name: method.identity for method in methods},
        "cutoffs": list(CUTOFFS),
        "swept": swept,
    }
    path = request.out / SCORES_FOLDER / f"{folder.name}.json"
    kept = _kept(path, json.loads(json.dumps(of)))
    if kept is not None:
        return kept
    quiet = [replace(method, notes=()) for method in methods]  # said once, not for each case
    found = score_case(load_labelled(folder), quiet, swept, request.device)
    content = {
        "of": of,
        "scores": {
            m: {t.value: asdict(each) for t, each in by_tracer.items()} for m, by_tracer in found.scores.items()
        },
        "sweep": {tracer.value: [asdict(each) for each in counts] for tracer, counts in found.sweep.items()},
        "removals": {method: [asdict(each) for each in every] for method, every in found.removals.items()},
        "fallbacks": found.fallbacks,
    }
    write_json(path, content)
    return found


def _kept(path: Path, of: dict[str, Any]) -> CaseScores | None:
    """Scores of an earlier run, if they are of this very case and these methods."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["of"] != of:
            return None
        scores = {m: {t: Scores(**by[t.value]) for t in Tracer} for m, by in content["scores"].items()}
        sweep = {Tracer(t): [LesionCounts(**each) for each in counts] for t, counts in content["sweep"].items()}
        removals = {m: [Removal(**each) for each in every] for m, every in content["removals"].items()}
        return CaseScores(scores, sweep, removals, list(content["fallbacks"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not there, cut off, or of another version: scored anew


def _text(
    methods: Sequence[Method],
    scores: Mapping[str, CohortScores],
    crossval: Crossval | None,
    people: str,
    curve: str,
) -> str:
    rows = {name: means(each) for name, each in scores.items()}
    trained = sorted({member.trained_on for method in methods for member in method.members})
    parts = [
        f"# Experiments on {people} patients",
        f"**{NOTICE}** Weights trained on: {'; '.join(trained)}. Rows marked *report: real* are the CDS report's own "
        "figures, measured on real patients with other weights: they show the tables' shape, not a comparison.",
    ]
    if crossval is not None:
        ours = {name: means(each) for name, each in crossval.scores.items()}
        held_out = {
            name: f"{len(each[Tracer.PSMA])} {crossval.patients}, held out, {crossval.recipe}"
            for name, each in crossval.scores.items()
        }
        parts += ["## Table 1: cross-validation folds", beside_the_report(ours, reported("folds"), held_out)]
    for title, name in (("Table 2: postprocessing", "postprocessing"), ("Table 3: unseen patients", "unseen")):
        theirs = reported(name)
        chosen = {key: row for key, row in rows.items() if key in theirs}
        if chosen:
            parts += [
                f"## {title}",
                beside_the_report(chosen, theirs, dict.fromkeys(chosen, people)),
                orders(chosen, theirs),
            ]
    ranked = rank({name: each for name, each in scores.items() if name != TRIVIAL})
    parts += ["## All figures", summary_table(scores), "## Ranks, as the challenge ranks", rank_table(ranked), curve]
    return "\n\n".join(parts) + "\n"
