"""``deeppsma train-second-opinion``: fit the second opinion on a cohort, and say what it is worth there."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from deeppsma.core.errors import ConfigurationError, InputError
from deeppsma.core.tracer import Tracer
from deeppsma.io.cohort import cohort_folders, load_labelled
from deeppsma.models.store import WeightsStore
from deeppsma.pipeline.apply_recipe import evidence_of
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
    columns_of,
    cross_validated,
    decided,
    figures,
    fit_forests,
    of_tracer,
    offset_of_role,
)
from deeppsma.training.focus_calibration import (
    Judged,
    by_size,
    calibration_error,
    calibration_interval,
    draw_reliability,
    open_to_doubt,
)
from deeppsma.training.focus_samples import FocusSample, load_focus_samples, make_focus_sample, save_focus_samples
from deeppsma.training.folds import Folds
from deeppsma.training.samples import fingerprint

_LOGGER = logging.getLogger(__name__)

SAMPLES_FOLDER, REPORT_NAME, PICTURE_NAME = "foci", "second_opinion.md", "reliability.png"
_ROLES = {
    Role.DECIDES: "decides",
    Role.REMOVES: "removes foci, adds none",
    Role.SAYS: "gives probabilities alone",
}
#: Groups of features whose worth is measured by leaving each out.
ABLATIONS = ("network", "patient", "suv", "ct", "contrast", "organ", "other_tracer", "around")


@dataclass(frozen=True)
class SecondOpinionRequest:
    """What the command line asks for; see ``deeppsma train-second-opinion --help``."""

    cohort: Path
    out: Path
    recipe: str = "mean"
    keep_lesions: float = 0.98
    folds: int = 5
    ablations: bool = False
    decides: tuple[str, ...] = ("fdg",)
    removes: tuple[str, ...] = ("psma",)
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


@dataclass(frozen=True)
class TracerFit:
    """One tracer's model, and what cross-validation says of it."""

    model: SecondOpinion
    rows: tuple[tuple[str, list[CaseFigures]], ...]
    judged: Judged
    ablations: tuple[tuple[str, list[CaseFigures]], ...]


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
    facts = {
        "patients": len(cases),
        "recipe": request.recipe,
        "folds": request.folds,
        "of_weights": [member.sha256 for member in method.members],
        "made_with": "train-second-opinion",
    }
    write_second_opinions(request.out, {tracer: each.model for tracer, each in fits.items()}, trained_on, facts)
    text = _text(fits, trained_on)
    (request.out / REPORT_NAME).write_text(text, encoding="utf-8")
    try:
        doubtful = [(t.upper(), open_to_doubt(each.judged)) for t, each in fits.items()]
        draw_reliability(doubtful, str(request.out / PICTURE_NAME))
    except ImportError:
        _LOGGER.warning("no reliability diagram: matplotlib is not installed")
    return text


def _method(request: SecondOpinionRequest) -> Method:
    recipe = load_recipe(request.recipe)
    if recipe.second_opinion or recipe.average != "logits" or not recipe.both_spaces:
        raise ConfigurationError(f"recipe {recipe.name}", "cannot be judged", "choose one of logits in both spaces")
    return Method.choose(recipe, WeightsStore.default(request.weights))


def _samples(request: SecondOpinionRequest, method: Method) -> dict[str, dict[Tracer, FocusSample]]:
    """Samples by case; each case is run through the networks once, and its foci are kept in OUT."""
    place = request.out / SAMPLES_FOLDER
    place.mkdir(parents=True, exist_ok=True)
    cases = {}
    for folder in tqdm(cohort_folders(request.cohort), desc="cases", disable=None):
        path = place / f"{folder.name}-{fingerprint(folder)}.npz"
        if not path.exists():
            labelled = load_labelled(folder)
            run = CaseRun(labelled.case, [method], request.device)
            made = {}
            for tracer, space in run.prepared.spaces.items():
                if space.hot.any():
                    evidence = evidence_of(tracer, [m.name for m in method.members], run.prepared, run.logits)
                    truth = run.prepared.on_crop(tracer, labelled.truths[tracer].read().voxels > 0)
                    made[tracer] = make_focus_sample(evidence, truth)
            save_focus_samples(path, made)
        cases[folder.name] = load_focus_samples(path)
    return cases


def _fit(samples: Samples, tracer: Tracer, folds: Folds, request: SecondOpinionRequest) -> TracerFit:
    if not samples:
        raise InputError(request.cohort, f"no {tracer.upper()} voxel above a threshold", "give another cohort")
    names = [str(name) for name in next(iter(samples.values())).names]
    columns = columns_of(names)
    logits = cross_validated(samples, folds.held_out, columns)
    role = request.role(tracer)
    chosen = offset_of_role(samples, logits, role, request.keep_lesions)
    if chosen is None:
        role = Role.SAYS
    offset = max(OFFSETS) if chosen is None else chosen
    neighbours = {name: Neighbours.of(sample.hot) for name, sample in samples.items()}
    masks = {
        "network": {name: s.network >= 0 for name, s in samples.items()},
        "either space": {name: s.either for name, s in samples.items()},
        **_second_opinions(samples, logits, offset, role),
        "best that foci allow": {n: (s.share > 0.5)[s.piece] for n, s in samples.items()},
    }
    table = tuple(
        (title, [figures(samples[n], mask, neighbours[n]) for n, mask in each.items()]) for title, each in masks.items()
    )
    judged = _judged(samples, logits)
    ablations = []
    for group in tqdm(ABLATIONS if request.ablations else (), desc=f"{tracer.upper()} without", disable=None):
        left = cross_validated(samples, folds.held_out, columns_of(names, (group,)))
        each = [figures(s, decided(s, left[n], offset, role), neighbours[n]) for n, s in samples.items()]
        ablations.append((group, each))
    card = {"figures": _figures(table, judged)}
    model = SecondOpinion(tracer, tuple(names), fit_forests(list(samples.values()), columns, 0), offset, role, card)
    return TracerFit(model, table, judged, tuple(ablations))


def _second_opinions(
    samples: Samples, logits: Mapping[str, NDArray[np.float64]], offset: float, role: Role
) -> dict[str, dict[str, NDArray[np.bool_]]]:
    """Masks by title: as it was chosen, and as if it decided freely."""
    free = {n: decided(s, logits[n], 0.0) for n, s in samples.items()}
    if role is Role.SAYS:
        return {"second opinion, if it decided with offset 0": free}
    chosen = {n: decided(s, logits[n], offset, role) for n, s in samples.items()}
    title = "second opinion" if role is Role.DECIDES else "second opinion, removing"
    return {f"{title}, offset {offset:g}": chosen, "second opinion, if it decided with offset 0": free}


def _judged(samples: Samples, logits: Mapping[str, Any]) -> Judged:
    return Judged(
        np.concatenate([1 / (1 + np.exp(-logits[name])) for name in samples]),
        np.concatenate([sample.share > 0.5 for sample in samples.values()]),
        np.concatenate([sample.focus_ml for sample in samples.values()]),
        np.repeat(np.arange(len(samples)), [len(sample.features) for sample in samples.values()]),
    )


def _figures(table: tuple[tuple[str, list[CaseFigures]], ...], judged: Judged) -> dict[str, Any]:
    low, high = calibration_interval(open_to_doubt(judged))
    out: dict[str, Any] = {
        title: {
            "mean_dsc": round(float(np.mean([f.dsc for f in each])), 4),
            "median_dsc": round(float(np.median([f.dsc for f in each])), 4),
            "fpv_ml": round(float(np.mean([f.fpv_ml for f in each])), 2),
            "fnv_ml": round(float(np.mean([f.fnv_ml for f in each])), 2),
            "lesions_found": sum(f.found for f in each),
            "lesions": sum(f.lesions for f in each),
        }
        for title, each in table
    }
    out["calibration_error"] = round(calibration_error(open_to_doubt(judged)), 4)
    out["calibration_error_95"] = [round(low, 4), round(high, 4)]
    return out


def _text(fits: Mapping[Tracer, TracerFit], trained_on: str) -> str:
    parts = [
        f"# Second opinion, cross-validated\n\nFitted on {trained_on}. No figure here says anything about real ones."
    ]
    for tracer, fit in fits.items():
        lines = [
            f"## {tracer.upper()}: {_ROLES[fit.model.role]}, offset {fit.model.offset:g}",
            "",
            *_table("mask", fit.rows),
        ]
        low, high = calibration_interval(open_to_doubt(fit.judged))
        error = calibration_error(open_to_doubt(fit.judged))
        lines += [
            "",
            f"Calibration error of foci of 2 % and more: {error:.3f} ({low:.3f} to {high:.3f} by patients); by size:",
        ]
        lines += ["", "| foci | how many | disease | calibration error |", "| --- | ---: | ---: | ---: |"]
        for name, some in by_size(open_to_doubt(fit.judged)).items():
            lines.append(
                f"| {name} | {len(some.disease)} | {int(some.disease.sum())} | {calibration_error(some):.3f} |"
            )
        if fit.ablations:
            lines += ["", *_table("without", fit.ablations)]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _table(head: str, rows: tuple[tuple[str, list[CaseFigures]], ...]) -> list[str]:
    lines = [f"| {head} | DSC mean | median | FPV, ml | FNV, ml | lesions found |"]
    lines.append("| --- | ---: | ---: | ---: | ---: | ---: |")
    for title, each in rows:
        dsc = [f.dsc for f in each]
        means = (np.mean(dsc), np.median(dsc), np.mean([f.fpv_ml for f in each]), np.mean([f.fnv_ml for f in each]))
        found = f"{sum(f.found for f in each)} of {sum(f.lesions for f in each)}"
        lines.append(f"| {title} | {means[0]:.3f} | {means[1]:.3f} | {means[2]:.1f} | {means[3]:.1f} | {found} |")
    return lines
