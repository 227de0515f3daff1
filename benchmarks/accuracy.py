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
from tqdm import tqdm

from deeppsma import Tracer, WeightsStore, load_recipe, segment
from deeppsma.cohort import LabelledCase, cohort_folders, load_labelled
from deeppsma.metrics import Scores, score
from deeppsma.trivial import trivial_answer

TRIVIAL = "trivial"
_BOOTSTRAPS = 2000


def score_cohort(
    cases: Sequence[LabelledCase], recipes: Sequence[str], store: WeightsStore
) -> dict[tuple[str, Tracer], list[Scores]]:
    """Scores by method and tracer, in the cases' order."""
    out: dict[tuple[str, Tracer], list[Scores]] = {(m, t): [] for m in (TRIVIAL, *recipes) for t in Tracer}
    for labelled in tqdm(cases, desc="cases", disable=None):
        answers = {}
        for tracer in Tracer:
            study = labelled.case.study(tracer)
            answers[TRIVIAL, tracer] = trivial_answer(study.read_pet(), study.threshold_suv, study.read_organs())
        for recipe in recipes:
            masks = segment(labelled.case, load_recipe(recipe), store).masks
            answers |= {(recipe, tracer): masks[tracer].voxels > 0 for tracer in Tracer}
        wanted = {tracer: file.read() for tracer, file in labelled.truths.items()}
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
    cases = [load_labelled(folder) for folder in cohort_folders(options.cohort)]
    scores = score_cohort(cases, options.recipes, WeightsStore.default(options.weights))
    print(table(scores))
    print()
    for number, labelled in enumerate(cases):
        each = [f"{m} {t.upper()} {scores[m, t][number].dsc:.3f}" for m, t in scores if m != TRIVIAL]
        print(f"{labelled.case.name}: {', '.join(each)}")


if __name__ == "__main__":
    main()
