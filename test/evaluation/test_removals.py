import numpy as np

from deeppsma.core.tracer import Tracer
from deeppsma.evaluation.removals import Removal, find_removals, removals_csv, removals_table
from deeppsma.pipeline.apply_recipe import CropMasks


def said(volume_ml):
    return {
        "centre_xyz_mm": [1.0, 2.0, 3.0],
        "volume_ml": volume_ml,
        "suv_max": 5.0,
        "organ_labels": [5],
        "psma_at_the_same_place": False,
        "score": 0.25,
    }


def test_what_went_is_beside_the_truth_by_hand():
    before = np.zeros((1, 1, 9), bool)
    before[0, 0, [0, 1, 3, 5, 6, 8]] = True  # four lesions
    after = before.copy()
    after[0, 0, [0, 1, 5, 6]] = False  # the first and the third went
    truth = np.zeros_like(before)
    truth[0, 0, [3, 6, 7]] = True  # half of the third is disease
    found = find_removals(CropMasks({Tracer.FDG: after}, [said(4.0), said(4.0)], before), truth, 2.0)
    assert [each.disease_ml for each in found] == [0.0, 2.0]


def test_without_refinement_nothing_went():
    mask = np.ones((1, 1, 2), bool)
    assert find_removals(CropMasks({Tracer.FDG: mask}), mask, 1.0) == []


def test_tables_by_hand():
    removals = {"best": [[Removal(said(4.0), 0.0), Removal(said(1.5), 0.5)], []]}
    assert removals_table(removals).splitlines()[-1] == "| best | 2 | 1 | 4.0 | 1 | 1.5 | 0.5 |"
    rows = removals_csv(removals, ["a", "b"]).splitlines()
    assert rows[0] == "method,case,centre_xyz_mm,volume_ml,suv_max,organ_labels,psma_at_the_same_place,score,disease_ml"
    assert rows[1] == "best,a,1.0 2.0 3.0,4.0,5.0,5,False,0.25,0"
    assert len(rows) == 3
