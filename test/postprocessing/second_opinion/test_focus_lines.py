import json
from dataclasses import replace

import numpy as np
import pytest
from builders.second_opinions import SHAPE, SPACING, bone_model, small_evidence

from deeppsma.core.geometry import Geometry
from deeppsma.postprocessing.second_opinion.decide import judge
from deeppsma.postprocessing.second_opinion.focus_lines import focus_lines, review

GRID = Geometry(SHAPE, SPACING, (100.0, 0.0, 0.0))


def lines_of(evidence, model=None):
    model = model or bone_model()
    return focus_lines(model, judge(model, evidence), evidence, GRID)


def test_a_lesion_has_its_line():
    (line,) = lines_of(small_evidence())
    assert line["centre_xyz_mm"] == [100 + 18 * 4, 6 * 4, 5 * 4]
    assert line["volume_ml"] == pytest.approx(27 * 0.064)
    assert line["suv_max"] == 12
    assert line["decision"] == "kept"
    assert line["probability"] == pytest.approx(0.9526, abs=1e-4)
    assert line["network_probability"] == pytest.approx(1 / (1 + np.exp(-4)), abs=1e-3)
    assert line["reasons"] == [{"feature": "organ.bone", "log_odds": 3.0}]
    assert line["review"] == []
    json.dumps(line)


def test_what_the_trees_changed_is_said():
    evidence = small_evidence()
    astray = replace(evidence, own=-evidence.own, other=-evidence.other)
    removed, added = lines_of(astray)  # the liver is larger
    assert (removed["decision"], added["decision"]) == ("removed", "added")


def test_what_a_reader_should_look_at():
    evidence, model = small_evidence(), bone_model()
    opinion = judge(model, evidence)
    lesion = int(np.argmax(opinion.logit))

    def why(opinion, evidence):
        return review(opinion, evidence)[lesion]

    assert why(opinion, evidence) == []
    assert why(replace(opinion, probability=np.full_like(opinion.probability, 0.5)), evidence) == ["unsure"]
    unlikely = replace(opinion, probability=np.full_like(opinion.probability, 0.1))
    assert "kept though unlikely" in why(unlikely, evidence)
    gone = replace(unlikely, disease=np.zeros_like(opinion.disease))
    assert "kept though unlikely" not in why(gone, evidence)
    apart = replace(evidence, other=-evidence.other)
    assert "the two spaces disagree" in why(judge(model, apart), apart)
    alone = replace(evidence, other_suv=np.ones_like(evidence.other_suv))
    assert why(judge(model, alone), alone) == ["FDG alone, smaller than 2 ml"]
    fine = replace(evidence, spacing_zyx=(2.0, 2.0, 2.0))
    assert why(judge(model, fine), fine) == ["smaller than 0.5 ml"]
    near = evidence.suv.copy()
    near[4:7, 5:8, 20:22] = 20
    beside = replace(evidence, suv=near)
    assert "beside hotter uptake" in why(judge(model, beside), beside)


def test_without_foci_there_are_no_lines():
    model = bone_model(offset=-9.0)
    evidence = small_evidence()
    quiet = replace(evidence, own=np.full_like(evidence.own, -5), other=np.full_like(evidence.other, -5))
    opinion = judge(model, quiet)
    unlikely = replace(opinion, probability=np.full_like(opinion.probability, 0.01))
    assert focus_lines(model, unlikely, quiet, GRID) == ()
