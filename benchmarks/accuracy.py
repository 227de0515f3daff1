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

from tqdm import tqdm

from deeppsma import Tracer, WeightsStore, load_recipe, segment
from deeppsma.cohort import LabelledCase, cohort_folders, load_labelled
from deeppsma.metrics import Scores, score
from deeppsma.scoring import csv_table, rank, rank_table, summary_table
from deeppsma.trivial import trivial_answer

TRIVIAL = "trivial"


def score_cohort(
    cases: Sequence[LabelledCase], recipes: Sequence[str], store: WeightsStore
) -> dict[str, dict[Tracer, list[Scores]]]:
    """Scores by method and tracer, in the cases' order."""
    out: dict[str, dict[Tracer, list[Scores]]] = {m: {t: [] for t in Tracer} for m in (TRIVIAL, *recipes)}
    for labelled in tqdm(cases, desc="cases", disable=None):
        answers, pets = {}, {}
        for tracer in Tracer:
            study = labelled.case.study(tracer)
            pets[tracer] = study.read_pet()
            answers[TRIVIAL, tracer] = trivial_answer(pets[tracer], study.threshold_suv, study.read_organs())
        for recipe in recipes:
            masks = segment(labelled.case, load_recipe(recipe), store).masks
            answers |= {(recipe, tracer): masks[tracer].voxels > 0 for tracer in Tracer}
        wanted = {tracer: file.read() for tracer, file in labelled.truths.items()}
        for (method, tracer), answer in answers.items():
            truth = wanted[tracer]
            scores = score(answer, truth.voxels > 0, pets[tracer].voxels, truth.geometry.voxel_volume_ml)
            out[method][tracer].append(scores)
    return out


def main() -> None:
    """Parse the command line, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path, metavar="COHORT")
    parser.add_argument("--recipes", nargs="+", default=["bothways", "bothways_plus"])
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--csv", type=Path, help="every case's scores")
    options = parser.parse_args()
    cases = [load_labelled(folder) for folder in cohort_folders(options.cohort)]
    scores = score_cohort(cases, options.recipes, WeightsStore.default(options.weights))
    print(summary_table(scores))
    print(f"\n{rank_table(rank(scores))}\n")
    names = [labelled.case.name for labelled in cases]
    for number, name in enumerate(names):
        each = [f"{m} {t.upper()} {scores[m][t][number].dsc:.3f}" for m in scores if m != TRIVIAL for t in Tracer]
        print(f"{name}: {', '.join(each)}")
    if options.csv is not None:
        options.csv.write_text(csv_table(scores, names), encoding="utf-8")


if __name__ == "__main__":
    main()
