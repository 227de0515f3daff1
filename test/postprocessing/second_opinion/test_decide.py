from dataclasses import replace

import numpy as np
import pytest
from builders.second_opinions import bone_model, small_evidence

from deeppsma.core.tracer import Tracer
from deeppsma.postprocessing.second_opinion.decide import Role, join, judge, judged, reasons


def alone(network):
    """Each voxel is a focus of its own."""
    return np.arange(len(network))


def test_the_trees_overrule_the_network():
    evidence = small_evidence()
    astray = replace(evidence, own=-evidence.own, other=-evidence.other)  # liver found, lesion not
    opinion = judge(bone_model(), astray)
    lesion = evidence.mean >= 0
    assert opinion.found.tolist() == (~lesion).tolist()
    assert opinion.disease.tolist() == lesion.tolist()
    assert opinion.probability[opinion.piece[lesion]].min() > 0.9
    assert opinion.probability[opinion.piece[~lesion]].max() < 0.1
    assert opinion.missing == ()


def test_a_model_that_does_not_decide_leaves_the_mask():
    evidence = small_evidence()
    astray = replace(evidence, own=-evidence.own, other=-evidence.other)
    opinion = judge(bone_model(role=Role.SAYS), astray)
    assert opinion.disease.tolist() == opinion.found.tolist()
    assert opinion.probability.max() > 0.9


def test_the_offset_spares_foci():
    opinion = judge(bone_model(offset=4.0), small_evidence())
    assert opinion.disease.all()  # -3 of the trees, -0.6 of the network, + 4
    assert opinion.probability.min() < 0.1  # a probability knows no offset


def test_joining_solved_by_hand():
    network, focus = np.array([10.0, 10.0, -10.0, -10.0]), np.array([-0.9, -1.1, 0.9, 1.1])
    assert join(network, alone(network), focus, 0.0).tolist() == [True, False, False, True]
    assert join(network, alone(network), focus, 0.2).tolist() == [True, True, True, True]


def test_the_network_says_where_in_a_focus_the_disease_is_solved_by_hand():
    network, piece, logit = np.array([-0.5, -3.0, -5.5, -1.0]), np.array([0, 0, 0, 1]), np.array([-1.0, -1.0])
    # Mean -3: -0.05 + 1.25 - 1 = 0.2; -0.3 + 0 - 1 = -1.3; -0.55 - 1.25 - 1 = -2.8; alone -0.1 + 0 - 1 = -1.1.
    assert join(network, piece, logit, 0.0, 0.5).tolist() == [True, False, False, False]
    assert join(network, piece, logit, 1.2, 0.5).tolist() == [True, False, False, True]
    assert join(network, piece, logit, 1.4, 0.5).tolist() == [True, True, False, True]
    assert join(network, piece, logit, 2.9, 0.5).all()
    assert not join(network, piece, logit, 1.0).any()  # as a whole


def test_a_model_may_divide_a_focus():
    evidence, model = small_evidence(), bone_model(scores=(0.1, -1.5))
    lesion = evidence.mean >= 0
    own = np.full(len(lesion), -6, dtype=np.float32)
    own[lesion] = np.linspace(-8, -0.5, int(lesion.sum()))
    unsure = replace(evidence, own=own, other=own)
    assert not judge(model, unsure).disease.any()  # the liver is likely, and the network says -0.6
    divided = judge(replace(model, within=0.5), unsure)
    assert divided.disease[lesion].any()
    assert not divided.disease[lesion].all()
    assert not divided.disease[~lesion].any()
    assert divided.disease_at(replace(model, within=0.5), 0.5).tolist() == divided.disease.tolist()


def test_a_network_that_is_sure_of_its_mask_moves_nothing_within_it():
    network, piece = np.array([1.0, 20.0]), np.zeros(2, dtype=int)
    assert not join(network, piece, np.array([-2.1]), 0.0, 0.5).any()  # -2.0 and -0.1: the tenth alone


def test_a_logit_beyond_the_limit_moves_a_focus_no_further():
    network, piece, logit = np.array([0.0, -30.0]), np.zeros(2, dtype=int), np.array([0.0])
    # Clipped at -12 it is 6 below the mean: -3 - 3 + offset. Not clipped, 15 below: -3 - 7.5 + offset.
    assert join(network, piece, logit, 6.1, 0.5).all()
    assert join(network, piece, logit, 5.9, 0.5).tolist() == [True, False]


def test_what_each_role_may_do_solved_by_hand():
    network, focus = np.array([10.0, 10.0, -10.0, -10.0]), np.array([-0.9, -1.1, 0.9, 1.1])
    assert judged(network, alone(network), focus, 0.0, Role.SAYS).tolist() == [True, True, False, False]
    assert judged(network, alone(network), focus, 0.0, Role.REMOVES).tolist() == [True, False, False, False]
    assert judged(network, alone(network), focus, 0.0, Role.DECIDES).tolist() == [True, False, False, True]


def test_a_man_without_a_likely_focus_has_no_disease_solved_by_hand():
    network, focus = np.array([10.0, -10.0, 10.0]), np.array([-0.1, -1.0, -5.0])
    assert join(network, alone(network), focus, 2.5).tolist() == [True, True, False]
    assert not judged(network, alone(network), focus, 2.5, Role.DECIDES).any()
    # These may not empty a mask.
    assert judged(network, alone(network), focus, 2.5, Role.REMOVES).tolist() == [True, False, False]
    assert judged(network, alone(network), np.array([0.0, -1.0, -5.0]), 2.5, Role.DECIDES).tolist() == [
        True,
        True,
        False,
    ]
    # Log odds -0.41.
    assert judged(network, alone(network), focus, 2.5, Role.DECIDES, cutoff=0.4).tolist() == [True, True, False]
    assert not judged(np.empty(0), alone([]), np.empty(0), 2.5, Role.DECIDES).any()


def test_how_many_foci_failed_to_convince():
    evidence = small_evidence()
    doubtful = bone_model(offset=4.0, scores=(-2.0, -1.0))
    opinion = judge(doubtful, evidence)
    assert not opinion.disease.any()
    assert opinion.unconvinced_by(doubtful, 0.5) == len(opinion.logit)
    assert opinion.unconvinced_by(doubtful, 0.2) == 0  # there -1 is likely enough
    sure = bone_model(offset=4.0)
    assert judge(sure, evidence).unconvinced_by(sure, 0.5) == 0
    for role in (Role.REMOVES, Role.SAYS):
        other = replace(doubtful, role=role)
        assert judge(other, evidence).unconvinced_by(other, 0.5) == 0


def test_a_model_that_removes_adds_nothing():
    evidence = small_evidence()
    astray = replace(evidence, own=-evidence.own, other=-evidence.other)  # liver found, lesion not
    assert not judge(bone_model(role=Role.REMOVES), astray).disease.any()
    right = judge(bone_model(role=Role.REMOVES), evidence)
    assert right.disease.tolist() == right.found.tolist()


def test_reasons_name_what_moved_a_focus():
    evidence, model = small_evidence(), bone_model()
    opinion = judge(model, evidence)
    for number, why in enumerate(reasons(model, opinion.table)):
        assert why == [("organ.bone", pytest.approx(float(opinion.logit[number])))]
    empty = replace(opinion.table, values=opinion.table.values[:0])
    assert reasons(model, empty) == []


def test_columns_are_found_by_name():
    model, opinion = bone_model(), judge(bone_model(), small_evidence())
    turned = replace(opinion.table, names=opinion.table.names[::-1], values=opinion.table.values[:, ::-1])
    assert model.logit(turned).tolist() == opinion.logit.tolist()
    with pytest.raises(ValueError, match="another version"):
        model.logit(replace(turned, names=("x", *turned.names[1:])))


def test_networks_that_did_not_answer_are_not_known():
    model, opinion = bone_model(), judge(bone_model(), small_evidence())
    of_two = replace(model, features=("members.2_logit", *model.features[1:]))
    columns = of_two.columns(opinion.table)
    assert np.isnan(columns[:, 0]).all()
    assert np.array_equal(columns[:, 1:], model.columns(opinion.table)[:, 1:], equal_nan=True)


def test_what_makes_no_sense_is_refused():
    model = bone_model()
    with pytest.raises(ValueError, match="a model of PSMA for FDG"):
        judge(bone_model(Tracer.PSMA), small_evidence())
    with pytest.raises(ValueError, match="needs forests"):
        replace(model, forests=())
    with pytest.raises(ValueError, match="look at more"):
        replace(model, features=model.features[:3])
    with pytest.raises(ValueError, match="within a focus"):
        replace(model, within=-0.5)
    with pytest.raises(ValueError, match="finite"):
        replace(model, offset=float("nan"))


@pytest.mark.parametrize("role", list(Role))
def test_a_lower_cutoff_never_takes_away(role):
    rng = np.random.default_rng(2)
    network, focus = rng.normal(0, 3, 200), rng.normal(0, 3, 200)
    masks = [judged(network, alone(network), focus, 0.5, role, cutoff) for cutoff in (0.9, 0.5, 0.2)]
    assert np.array_equal(masks[1], judged(network, alone(network), focus, 0.5, role))
    assert not (masks[0] & ~masks[1]).any()
    assert not (masks[1] & ~masks[2]).any()
    assert masks[0].sum() < masks[1].sum() < masks[2].sum()
