"""``deeppsma train-refinement``: fit which FDG lesions stay, on any cohort with truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from deeppsma.core.defaults import SUBMITTED_RECIPE
from deeppsma.core.errors import ConfigurationError, InputError
from deeppsma.core.settings import write_json
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.io.cohort import LabelledCase, cohort_folders, load_labelled
from deeppsma.models.store import WeightsStore
from deeppsma.pipeline.recipe import Recipe, load_recipe
from deeppsma.pipeline.segment import segment
from deeppsma.postprocessing.lesion_classifier import LesionClassifier, load_classifier
from deeppsma.postprocessing.lesions import Lesion, Scene, find_lesions

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

#: What "the same place" may be, and is compared for: PSMA disease in an organ of the same label, or within mm.
CANDIDATES: tuple[tuple[str, float], ...] = (("organ", 0.0), *(("space", r) for r in (5.0, 10.0, 15.0, 20.0, 30.0)))
_FOLDS = 5
#: Fewer lesions of either kind say nothing.
_LEAST = 10


@dataclass(frozen=True)
class RefinementRequest:
    """What the command line asks for; see ``deeppsma train-refinement --help``."""

    cohort: Path
    out: Path
    recipe: str = SUBMITTED_RECIPE
    match: str = "organ"
    radius_mm: float = 0.0
    keep_above_ml: float = 7.0
    weights: Path | None = None
    device: str = "auto"
    describe: str = ""
    picture: Path | None = None


@dataclass(frozen=True)
class Finding:
    """A component of an FDG mask, whose case it is of, and whether it touches disease."""

    case: str
    lesion: Lesion
    disease: bool


@dataclass(frozen=True)
class Fit:
    """A model, and what cross-validation says of it; patients are never split.

    Parameters
    ----------
    model
        Fitted on all.
    sensitivity, specificity
        Shares of the lesions with disease that stay, and of those without
        that go.
    auc
        Area under the ROC curve: how well scores order lesions, wherever the
        cutoff lies.
    scores, disease
        By lesion: the score of the model that has not seen its patient, and
        the truth.
    """

    model: LesionClassifier
    sensitivity: float
    specificity: float
    auc: float
    scores: NDArray[np.float64]
    disease: NDArray[np.bool_]

    @property
    def figures(self) -> dict[str, float | int]:
        """For the model's file."""
        return {
            "lesions": len(self.disease),
            "with_disease": int(self.disease.sum()),
            "sensitivity": round(self.sensitivity, 4),
            "specificity": round(self.specificity, 4),
            "auc": round(self.auc, 4),
        }


def run_refinement(request: RefinementRequest) -> str:
    """Fit the model that is asked for and write it; returns a table of all candidates.

    Raises
    ------
    ConfigurationError
        If the recipe refines already, or scikit-learn is not installed.
    InputError
        If the cohort has too few lesions of either kind.
    """
    recipe = load_recipe(request.recipe)
    if recipe.refinement:
        raise ConfigurationError(f"recipe {recipe.name}", "refines already", "choose one that does not")
    if request.out.suffix != ".json":
        raise ConfigurationError(request.out, "not the name of a JSON file", "call it NAME.json")
    try:
        import sklearn  # noqa: F401

        if request.picture is not None:
            import matplotlib  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(str(error.name), "not installed", "run ./setup.sh train") from None
    chosen = (request.match, request.radius_mm)
    template = _template(request)
    candidates = list(dict.fromkeys((*CANDIDATES, chosen)))
    found = _findings(request, recipe, candidates)
    fits = {each: fit(found[each], replace(template, match=each[0], radius_mm=each[1])) for each in candidates}
    kept = fits[chosen]
    content = kept.model.as_dict() | {"figures": kept.figures}
    request.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(request.out, content)
    if request.picture is not None:
        draw_calibration(kept, request.picture)
    published = replace(load_classifier("published"), keep_above_ml=template.keep_above_ml)  # the same lesions are open
    return _table(fits, chosen, judge(found[published.match, published.radius_mm], published))


def fit(findings: Sequence[Finding], template: LesionClassifier) -> Fit:
    """Fit a model to the lesions that its rules leave to it.

    Parameters
    ----------
    findings
        Lesions with their features for the template's match.
    template
        Match and rules; its coefficients do not count.

    Raises
    ------
    InputError
        If there are too few lesions of either kind, or patients.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    open_ones = _open(findings, template)
    disease = np.array([f.disease for f in open_ones], dtype=bool)
    patients = np.array([f.case for f in open_ones])
    spread = min(len(set(patients[disease])), len(set(patients[~disease])))
    if min(disease.sum(), (~disease).sum()) < _LEAST or spread < _FOLDS:
        found = f"{int(disease.sum())} small lesions in organs are disease, {int((~disease).sum())} are not"
        raise InputError("cohort", found, f"give one with {_LEAST} of each, each in {_FOLDS} patients or more")
    features = np.array([_features(f.lesion) for f in open_ones])
    scores = np.empty(len(open_ones))
    for seen, unseen in StratifiedGroupKFold(_FOLDS).split(features, disease, patients):
        scores[unseen] = _regression().fit(features[seen], disease[seen]).predict_proba(features[unseen])[:, 1]
    whole = _regression().fit(features, disease)
    psma, log_volume, suv_max = (float(value) for value in whole.coef_[0])
    model = replace(template, intercept=float(whole.intercept_[0]), psma=psma, log_volume=log_volume, suv_max=suv_max)
    return _judged(model, scores, disease)


def judge(findings: Sequence[Finding], model: LesionClassifier) -> Fit:
    """What a model that was fitted elsewhere says of the lesions that its rules leave to it.

    Parameters
    ----------
    findings
        As for `fit`, both kinds among them.
    model
        Such as the published one.
    """
    open_ones = _open(findings, model)
    scores = np.array([model.score(each.lesion) for each in open_ones])
    return _judged(model, scores, np.array([each.disease for each in open_ones], dtype=bool))


def _open(findings: Sequence[Finding], model: LesionClassifier) -> list[Finding]:
    """Those that the rules do not keep whatever their score."""
    return [f for f in findings if f.lesion.labels and f.lesion.volume_ml <= model.keep_above_ml]


def _judged(model: LesionClassifier, scores: NDArray[np.float64], disease: NDArray[np.bool_]) -> Fit:
    from sklearn.metrics import roc_auc_score

    stays = scores >= model.cutoff
    auc = float(roc_auc_score(disease, scores))
    return Fit(model, float(stays[disease].mean()), float((~stays)[~disease].mean()), auc, scores, disease)


def draw_calibration(found: Fit, path: Path) -> None:
    """Draw how often lesions of a score are disease, in cross-validation."""
    from matplotlib.figure import Figure
    from sklearn.calibration import calibration_curve

    share, score = calibration_curve(found.disease, found.scores, n_bins=8, strategy="quantile")
    figure = Figure(figsize=(5, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    axes.plot(score, share, marker="o")
    axes.set(xlabel="score", ylabel="share that is disease", title=f"{len(found.disease)} lesions, cross-validated")
    axes.set(xlim=(0, 1), ylim=(0, 1))
    figure.savefig(path, dpi=100)


def _template(request: RefinementRequest) -> LesionClassifier:
    try:
        return LesionClassifier(
            request.match,
            0.0,
            0.0,
            0.0,
            0.0,
            keep_above_ml=request.keep_above_ml,
            radius_mm=request.radius_mm,
            summary=f"fitted to what {request.recipe} finds",
            source="deeppsma train-refinement",
            trained_on=request.describe or request.cohort.name,
        )
    except ValueError as error:
        raise ConfigurationError("train-refinement", str(error), "see deeppsma train-refinement --help") from None


def _findings(
    request: RefinementRequest, recipe: Recipe, candidates: Sequence[tuple[str, float]]
) -> dict[tuple[str, float], list[Finding]]:
    store = WeightsStore.default(request.weights)
    found: dict[tuple[str, float], list[Finding]] = {each: [] for each in candidates}
    for folder in tqdm(cohort_folders(request.cohort), desc="cases", disable=None):
        labelled = load_labelled(folder)
        for tracer in Tracer:
            if labelled.case.study(tracer).organs is None:
                raise InputError(folder, f"no {tracer.upper()} organ map", "give cases with both maps")
        result = segment(labelled.case, recipe, store, request.device)
        scene = _scene(labelled, result.masks)
        truth = labelled.truths[Tracer.FDG].read().voxels > 0
        for each in candidates:
            components, lesions = find_lesions(scene, *each)
            touched = set(np.unique(components[truth]).tolist())
            found[each] += [Finding(folder.name, lesion, lesion.number in touched) for lesion in lesions]
    return found


def _scene(labelled: LabelledCase, masks: Mapping[Tracer, Volume]) -> Scene:
    case = labelled.case
    pet = case.fdg.read_pet()
    return Scene(
        masks[Tracer.FDG],
        pet.voxels,
        masks[Tracer.PSMA],
        case.fdg.read_organs(),
        case.psma.read_organs(),
        case.transform(Tracer.FDG),
    )


def _features(lesion: Lesion) -> tuple[float, float, float]:
    return float(lesion.psma), float(np.log(lesion.volume_ml + 1)), lesion.suv_max


def _regression() -> LogisticRegression:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=10000)


def _table(fits: dict[tuple[str, float], Fit], chosen: tuple[str, float], published: Fit) -> str:
    lines = [
        "| the same place | sensitivity | specificity | AUC | lesions | |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]

    def row(place: str, each: Fit, mark: str) -> str:
        figures = f"{each.sensitivity:.3f} | {each.specificity:.3f} | {each.auc:.3f}"
        return f"| {place} | {figures} | {len(each.disease)} | {mark} |"

    for (match, radius_mm), each in fits.items():
        place = "organ of the same label" if match == "organ" else f"within {radius_mm:g} mm"
        mark = "written" if (match, radius_mm) == chosen else ""
        lines.append(row(place, each, mark))
    lines.append(row("organ of the same label", published, "the published coefficients, not fitted"))
    model = asdict(fits[chosen].model)
    terms = ", ".join(f"{key} {model[key]:+.3f}" for key in ("intercept", "psma", "log_volume", "suv_max"))
    return "\n".join([*lines, "", f"coefficients: {terms}"])
