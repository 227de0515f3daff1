"""``deeppsma train-second-opinion``: fit the second opinion on a cohort, and say what it is worth there."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from deeppsma.core.errors import ConfigurationError, InputError
from deeppsma.core.tracer import Tracer
from deeppsma.io.case import Case, ImageSource
from deeppsma.io.cohort import cohort_folders, load_labelled
from deeppsma.models.store import WeightsStore
from deeppsma.pipeline.apply_second_opinion import evidence_of
from deeppsma.pipeline.case_run import CaseRun
from deeppsma.pipeline.method import Method
from deeppsma.pipeline.recipe import load_recipe
from deeppsma.postprocessing.second_opinion.basins import Neighbours
from deeppsma.postprocessing.second_opinion.decide import Role, SecondOpinion
from deeppsma.postprocessing.second_opinion.store import write_second_opinions
from deeppsma.training.fit_second_opinion import (
    OFFSETS,
    CaseFigures,
    Samples,
    choose_for_role,
    columns_of,
    cross_validated,
    decided,
    figures,
    fit_forests,
    of_tracer,
)
from deeppsma.training.focus_calibration import Judged, draw_reliability, open_to_doubt
from deeppsma.training.focus_samples import FocusSample, load_focus_samples, make_focus_sample, save_focus_samples
from deeppsma.training.folds import Folds
from deeppsma.training.samples import fingerprint
from deeppsma.training.second_opinion_tables import Row, TracerFit, card_figures, tables_text

_LOGGER = logging.getLogger(__name__)

SAMPLES_FOLDER, REPORT_NAME, PICTURE_NAME = "foci", "second_opinion.md", "reliability.png"
#: Stands for the forests that have not heard the networks.
WITNESS = "witness"
#: Groups of features whose worth is measured by leaving each out.
ABLATIONS = ("network", "members", "patient", "suv", "ct", "contrast", "organ", "place", "other_tracer", "around")


@dataclass(frozen=True)
class SecondOpinionRequest:
    """What the command line asks for; see ``deeppsma train-second-opinion --help``."""

    cohort: Path
    out: Path
    recipe: str = "mean"
    keep_lesions: float = 0.98
    folds: int = 5
    ablations: bool = False
    without_maps: bool = False
    decides: tuple[str, ...] = ("psma", "fdg")
    removes: tuple[str, ...] = ()
    weights: Path | None = None
    device: str = "auto"
    describe: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.keep_lesions <= 1:
            raise ValueError(f"--keep-lesions {self.keep_lesions}: give a share above 0, at most 1")
        if self.folds < 2:
            raise ValueError(f"--folds {self.folds}: give 2 or more")
        if both := set(self.decides) & set(self.removes):
            raise ValueError(f"--decides and --removes {', '.join(sorted(both))}: give each tracer once")

    def role(self, tracer: Tracer) -> Role:
        """What a tracer's trees may do."""
        if tracer.value in self.decides:
            return Role.DECIDES
        return Role.REMOVES if tracer.value in self.removes else Role.SAYS


def run_second_opinion(request: SecondOpinionRequest) -> str:
    """Fit and write the models; returns the tables, which also lie in OUT.

    Raises
    ------
    InputError
        If the cohort has too few patients or foci.
    ConfigurationError
        If the recipe cannot be judged, or LightGBM is not installed.
    """
    method = _method(request)
    cases = _samples(request, method)
    if len(cases) < 2 * request.folds:
        raise InputError(request.cohort, f"{len(cases)} patients", f"give {2 * request.folds} or more")
    folds = Folds.draw(list(cases), request.folds)
    fits = {tracer: _fit(of_tracer(cases, tracer), tracer, folds, request) for tracer in Tracer}
    trained_on = request.describe or f"{len(cases)} patients of {request.cohort.name}"
    trained_on += ", without their organ maps" if request.without_maps else ""
    facts = {
        "patients": len(cases),
        "without_organ_maps": request.without_maps,
        "recipe": request.recipe,
        "folds": request.folds,
        "of_weights": [m.sha256 for m in (method.without_organ_maps() if request.without_maps else method).members],
        "made_with": "train-second-opinion",
    }
    write_second_opinions(request.out, {tracer: each.model for tracer, each in fits.items()}, trained_on, facts)
    text = tables_text(fits, trained_on)
    (request.out / REPORT_NAME).write_text(text, encoding="utf-8")
    try:
        doubtful = [(t.upper(), open_to_doubt(each.judged)) for t, each in fits.items()]
        draw_reliability(doubtful, str(request.out / PICTURE_NAME))
    except ImportError:
        _LOGGER.warning("no reliability diagram: matplotlib is not installed")
    return text


def _method(request: SecondOpinionRequest) -> Method:
    recipe = load_recipe(request.recipe)
    if recipe.second_opinion:
        raise ConfigurationError(f"recipe {recipe.name}", "is judged already", "name the recipe before its judgement")
    return Method.choose(recipe, WeightsStore.default(request.weights))


def _samples(request: SecondOpinionRequest, method: Method) -> dict[str, dict[Tracer, FocusSample]]:
    """Samples by case; each case is run through the networks once, and its foci are kept in OUT."""
    place = request.out / SAMPLES_FOLDER
    place.mkdir(parents=True, exist_ok=True)
    # Foci of another recipe, or other networks, are others.
    suffix = f"-{_digest(method)}{'.no-maps' if request.without_maps else ''}"
    cases = {}
    for folder in tqdm(cohort_folders(request.cohort), desc="cases", disable=None):
        path = place / f"{folder.name}-{fingerprint(folder)}{suffix}.npz"
        if not path.exists():
            labelled = load_labelled(folder)
            case = _without_organs(labelled.case) if request.without_maps else labelled.case
            save_focus_samples(path, _made(case, labelled.truths, method.for_case(case), request.device))
        cases[folder.name] = load_focus_samples(path)
    return cases


def _digest(method: Method) -> str:
    return hashlib.sha256(json.dumps(method.identity, sort_keys=True).encode()).hexdigest()[:8]


def _without_organs(case: Case) -> Case:
    return replace(case, studies={tracer: replace(study, organs=None) for tracer, study in case.studies.items()})


def _made(case: Case, truths: Mapping[Tracer, ImageSource], method: Method, device: str) -> dict[Tracer, FocusSample]:
    """Samples of a case, by tracer; a tracer without a hot voxel or a member has none."""
    run = CaseRun(case, [method], device)
    made = {}
    for tracer, space in run.prepared.spaces.items():
        if space.hot.any() and method.members_of(tracer):
            evidence = evidence_of(tracer, method, run.prepared, run.logits)
            truth = run.prepared.on_crop(tracer, truths[tracer].read().voxels > 0)
            made[tracer] = make_focus_sample(evidence, truth)
    return made


def _fit(samples: Samples, tracer: Tracer, folds: Folds, request: SecondOpinionRequest) -> TracerFit:
    if not samples:
        raise InputError(request.cohort, f"no {tracer.upper()} voxel above a threshold", "give another cohort")
    names = next(iter(samples.values())).names.tolist()
    columns = columns_of(names)
    logits = cross_validated(samples, folds.held_out, columns)
    role = request.role(tracer)
    chosen = choose_for_role(samples, logits, role, request.keep_lesions)
    if chosen is None:
        role = Role.SAYS
    offset, within = (max(OFFSETS), 0.0) if chosen is None else (chosen.offset, chosen.within)
    rows = _rows(samples, logits, offset, role, within)
    judged = _judged(samples, logits)
    ablations = []
    for group in tqdm(
        (WITNESS, *ABLATIONS) if request.ablations else (), desc=f"{tracer.upper()} without", disable=None
    ):
        left = cross_validated(samples, folds.held_out, columns_of(names, (group,)), witness=group != WITNESS)
        masks = {n: decided(s, left[n], offset, role, within) for n, s in samples.items()}
        ablations.append((group, _each(samples, masks)))
    card = {"figures": card_figures(rows, judged)}
    forests = fit_forests(list(samples.values()), columns, 0)
    model = SecondOpinion(tracer, tuple(names), forests, offset, role, card, within)
    return TracerFit(model, tuple(rows), judged, tuple(ablations))


def _rows(
    samples: Samples, logits: Mapping[str, NDArray[np.float64]], offset: float, role: Role, within: float
) -> list[Row]:
    """Masks to compare, by title, each with its figures by case."""
    masks = {
        "network": {name: s.found for name, s in samples.items()},
        "either space": {name: s.either for name, s in samples.items()},
        **_second_opinions(samples, logits, offset, role, within),
        "best that foci allow": {n: (s.share > 0.5)[s.piece] for n, s in samples.items()},
    }
    return [(title, _each(samples, mask)) for title, mask in masks.items()]


def _each(samples: Samples, masks: Mapping[str, NDArray[np.bool_]]) -> list[CaseFigures]:
    return [figures(samples[name], mask, Neighbours.of(samples[name].hot)) for name, mask in masks.items()]


def _second_opinions(
    samples: Samples, logits: Mapping[str, NDArray[np.float64]], offset: float, role: Role, within: float
) -> dict[str, dict[str, NDArray[np.bool_]]]:
    """Masks by title: as it was chosen, as if a focus were one whole, and as if it decided freely."""
    free = {n: decided(s, logits[n], 0.0, within=within) for n, s in samples.items()}
    if role is Role.SAYS:
        return {"second opinion, if it decided with offset 0": free}
    title = "second opinion" if role is Role.DECIDES else "second opinion, removing"
    out = {f"{title}, offset {offset:g}": {n: decided(s, logits[n], offset, role, within) for n, s in samples.items()}}
    if within:
        out["the same, a focus as a whole"] = {n: decided(s, logits[n], offset, role) for n, s in samples.items()}
    return {**out, "second opinion, if it decided with offset 0": free}


def _judged(samples: Samples, logits: Mapping[str, Any]) -> Judged:
    return Judged(
        np.concatenate([1 / (1 + np.exp(-logits[name])) for name in samples]),
        np.concatenate([sample.share > 0.5 for sample in samples.values()]),
        np.concatenate([sample.focus_ml for sample in samples.values()]),
        np.repeat(np.arange(len(samples)), [len(sample.features) for sample in samples.values()]),
    )
