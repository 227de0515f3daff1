"""How well recipes agree with the truth of a cohort, beside the answer that needs no network.

    python -m benchmarks.accuracy COHORT [--recipes bothways bothways_plus]

COHORT is a folder of ``train_XXXX`` cases, or of cases in the platform's
layout with ``input`` and ``truth``. The trivial answer is every voxel at or
above the threshold outside kidneys, liver and bladder.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from deeppsma import Case, Tracer, WeightsStore, load_case, load_recipe, segment
from deeppsma.errors import InputError
from deeppsma.images import ImageFile
from deeppsma.metrics import Scores, score
from deeppsma.organs import BLADDER, KIDNEY_LEFT, KIDNEY_RIGHT, LIVER
from deeppsma.resampling import resample

TRIVIAL = "trivial"
_EXCLUDED = (KIDNEY_RIGHT, KIDNEY_LEFT, LIVER, BLADDER)
_BOOTSTRAPS = 2000


def cohort_cases(cohort: Path) -> list[tuple[Case, dict[Tracer, ImageFile]]]:
    """Cases of a cohort with their truths."""
    out = []
    for folder in sorted(path for path in cohort.iterdir() if path.is_dir()):
        platform = (folder / "input").is_dir()
        case = load_case(folder / "input" if platform else folder)
        truths = {t: ImageFile(folder / "truth" / f"{t}.mha") if platform else case.study(t).truth for t in Tracer}
        for tracer, truth in truths.items():
            if truth is None:
                raise InputError(folder, f"no truth for {tracer.upper()}", "give a cohort with truth masks")
        out.append((case, {t: truth for t, truth in truths.items() if truth is not None}))
    return out


def trivial_answer(case: Case, tracer: Tracer) -> NDArray[np.bool_]:
    """Everything at or above the threshold outside the organs that growing spares, [z, y, x]."""
    study = case.study(tracer)
    pet, organs = study.read_pet(), study.read_organs()
    hot = pet.voxels >= np.float32(study.threshold_suv)
    if organs is None:
        return hot
    return np.asarray(hot & ~np.isin(resample(organs, pet.geometry, labels=True), _EXCLUDED))


def score_cohort(cohort: Path, recipes: Sequence[str], store: WeightsStore) -> dict[tuple[str, Tracer], list[Scores]]:
    """Scores by method and tracer, in the cases' order."""
    out: dict[tuple[str, Tracer], list[Scores]] = {(m, t): [] for m in (TRIVIAL, *recipes) for t in Tracer}
    for case, truths in tqdm(cohort_cases(cohort), desc="cases", disable=None):
        answers = {(TRIVIAL, tracer): trivial_answer(case, tracer) for tracer in Tracer}
        for recipe in recipes:
            masks = segment(case, load_recipe(recipe), store).masks
            answers |= {(recipe, tracer): masks[tracer].voxels > 0 for tracer in Tracer}
        wanted = {tracer: file.read() for tracer, file in truths.items()}
        for (method, tracer), answer in answers.items():
            truth = wanted[tracer]
            out[method, tracer].append(score(answer, truth.voxels > 0, truth.geometry.voxel_volume_ml))
    return out


def table(scores: dict[tuple[str, Tracer], list[Scores]]) -> str:
    """Markdown: mean DSC with its bootstrap interval, median, mean FPV and FNV."""
    lines = ["| method | tracer | DSC mean (95 %) | median | lowest | FPV, ml | FNV, ml |", "| --- " * 7 + "|"]
    rng = np.random.default_rng(0)
    for (method, tracer), of_cases in scores.items():
        dsc = np.array([s.dsc for s in of_cases])
        means = rng.choice(dsc, (_BOOTSTRAPS, len(dsc))).mean(axis=1)
        low, high = np.percentile(means, [2.5, 97.5])
        fpv, fnv = (np.mean([getattr(s, name) for s in of_cases]) for name in ("fpv_ml", "fnv_ml"))
        numbers = f"{dsc.mean():.3f} ({low:.3f} to {high:.3f}) | {np.median(dsc):.3f} | {dsc.min():.3f}"
        lines.append(f"| {method} | {tracer.upper()} | {numbers} | {fpv:.1f} | {fnv:.1f} |")
    return "\n".join(lines)


def main() -> None:
    """Parse the command line, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path, metavar="COHORT")
    parser.add_argument("--recipes", nargs="+", default=["bothways", "bothways_plus"])
    parser.add_argument("--weights", type=Path)
    options = parser.parse_args()
    scores = score_cohort(options.cohort, options.recipes, WeightsStore.default(options.weights))
    print(table(scores))
    print()
    for number, (case, _) in enumerate(cohort_cases(options.cohort)):
        each = [f"{m} {t.upper()} {scores[m, t][number].dsc:.3f}" for m, t in scores if m != TRIVIAL]
        print(f"{case.name}: {', '.join(each)}")


if __name__ == "__main__":
    main()
