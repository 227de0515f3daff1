from dataclasses import replace

import numpy as np
import pytest
from builders.second_opinions import small_evidence

from deeppsma.core.errors import ConfigurationError, InputError
from deeppsma.core.tracer import Tracer
from deeppsma.postprocessing.second_opinion.basins import Neighbours
from deeppsma.postprocessing.second_opinion.decide import Role
from deeppsma.postprocessing.second_opinion.trees import mean_score
from deeppsma.training import fit_second_opinion as fitting
from deeppsma.training.fit_second_opinion import (
    WITHIN,
    CaseFigures,
    OffsetRow,
    choose_for_role,
    choose_offset,
    columns_of,
    cross_validated,
    decided,
    figures,
    fit_forests,
    found_by_network,
    of_tracer,
    try_offsets,
)
from deeppsma.training.focus_samples import FocusSample, load_focus_samples, make_focus_sample, save_focus_samples

pytest.importorskip("lightgbm")
NAMES = ("network.a", "suv.b", "ct.c")


def sample(seed, foci=40, per=3):
    """Foci in a row, of which those with b above 0 are disease."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(foci, 3)).astype(np.float32)
    piece = np.repeat(np.arange(foci), per).astype(np.int32)
    truth = (features[:, 1] > 0)[piece]
    lesion = np.where(truth, np.cumsum(np.diff(truth, prepend=False) & truth) - 1, -1).astype(np.int32)
    n = foci * per
    return FocusSample(
        np.array(NAMES),
        features,
        piece,
        np.full(n, -0.1, np.float32),
        np.zeros(n, bool),
        truth,
        truth,
        lesion,
        np.arange(n),
        np.array([1, 1, n]),
        np.array(0.5),
        np.array(0.0),
    )


SAMPLES = {f"p{seed}": sample(seed) for seed in range(10)}
HELD_OUT = [[f"p{k}", f"p{k + 5}"] for k in range(5)]


def test_half_of_the_forests_have_not_heard_the_networks():
    liars = {name: replace(each, features=each.features.copy()) for name, each in SAMPLES.items()}
    for each in liars.values():
        each.features[:, 0] = each.features[:, 1]  # networks that are right on every patient here
    forests = fit_forests(list(liars.values()), columns_of(NAMES), 0)
    heard, unheard = forests[: len(forests) // 2], forests[len(forests) // 2 :]
    wrong = np.array([[3.0, -1.0, 0.0], [-3.0, 1.0, 0.0]], np.float32)
    assert all(0 not in forest.feature[forest.feature >= 0] for forest in unheard)
    assert any(0 in forest.feature[forest.feature >= 0] for forest in heard)
    without = mean_score(unheard, wrong)
    assert without[0] < 0 < without[1]
    assert mean_score(forests, wrong) == pytest.approx((mean_score(heard, wrong) + without) / 2)
    alone = fit_forests(list(liars.values()), columns_of(NAMES), 0, witness=False)
    assert mean_score(alone, wrong).tolist() == mean_score(heard, wrong).tolist()


def test_what_decides_is_learnt_and_patients_are_held_out():
    logits = cross_validated({**SAMPLES}, [*HELD_OUT, ["a case without a sample"]], columns_of(NAMES))
    assert set(logits) == set(SAMPLES)
    right = [((logits[n] > 0) == (s.share > 0.5)).mean() for n, s in SAMPLES.items()]
    assert np.mean(right) > 0.9
    blind = cross_validated(SAMPLES, HELD_OUT, columns_of(NAMES, ("suv",)))
    assert np.mean([((blind[n] > 0) == (s.share > 0.5)).mean() for n, s in SAMPLES.items()]) < 0.7


def test_logits_come_from_forests_that_have_not_seen_the_patient(monkeypatch):
    seen = []

    def watched(samples, columns, seed, witness):
        seen.append({id(each) for each in samples})
        return fit_forests(samples, columns, seed, witness)

    monkeypatch.setattr(fitting, "fit_forests", watched)
    cross_validated(SAMPLES, HELD_OUT, columns_of(NAMES))
    for ids, fold in zip(seen, HELD_OUT, strict=True):
        assert not ids & {id(SAMPLES[name]) for name in fold}
        assert len(ids) == 8


def test_the_same_seed_gives_the_same_forests():
    once, again = (fit_forests(list(SAMPLES.values()), columns_of(NAMES), 0) for _ in range(2))
    values = SAMPLES["p0"].features
    assert mean_score(once, values).tolist() == mean_score(again, values).tolist()


def test_too_few_foci_say_nothing(monkeypatch):
    with pytest.raises(InputError, match="foci are disease"):
        fit_forests([sample(0, 20)], columns_of(NAMES), 0)
    monkeypatch.setitem(__import__("sys").modules, "lightgbm", None)
    with pytest.raises(ConfigurationError, match="lightgbm: not installed"):
        fit_forests(list(SAMPLES.values()), columns_of(NAMES), 0)


def test_figures_solved_by_hand():
    truth = np.array([1, 1, 0, 0, 1, 0, 0, 0], bool)
    lesion = np.array([0, 0, -1, -1, 1, -1, -1, -1], np.int32)
    one = replace(
        sample(0, 4, 2),
        truth=truth,
        lesion=lesion,
        flat=np.arange(8),
        shape_zyx=np.array([1, 1, 8]),
        outside_ml=np.array(0.5),
    )
    mask = np.array([0, 1, 1, 0, 0, 0, 1, 1], bool)
    found = figures(one, mask, Neighbours.of(one.hot))
    # 1 voxel agreed, 4 found, 3 true and one more outside: 2 / 8.
    assert found.dsc == pytest.approx(0.25)
    assert (found.fpv_ml, found.fnv_ml) == (1.0, 0.5)
    assert (found.lesions, found.found) == (2, 1)
    assert np.isnan(figures(one, mask).fpv_ml)
    nothing = replace(one, truth=np.zeros(8, bool), lesion=np.full(8, -1, np.int32), outside_ml=np.array(0.0))
    assert figures(nothing, np.zeros(8, bool)).dsc == 1
    assert figures(nothing, mask).dsc == 0


def test_offsets_are_chosen_under_limits():
    rows = [OffsetRow(0.0, 0.9, 80, 9.0), OffsetRow(1.0, 0.8, 95, 6.0), OffsetRow(2.0, 0.7, 99, 4.0)]
    assert choose_offset(rows, 0, 99).offset == 0
    assert choose_offset(rows, 90, 99).offset == 1
    assert choose_offset(rows, 90, 5).offset == 2
    assert choose_offset(rows, 100, 99) is None
    # Of offsets as good as each other the one that misses least; 0.9 is no better than 0.8985.
    assert choose_offset([*rows, OffsetRow(0.5, 0.8985, 85, 8.0)], 0, 99).offset == 0.5
    assert choose_offset([*rows, OffsetRow(0.5, 0.8975, 85, 8.0)], 0, 99).offset == 0
    # With the same offset the weight within a focus that misses less, if it is as good.
    assert choose_offset([*rows, OffsetRow(0.0, 0.8985, 85, 8.0, 0.5)], 0, 99).within == 0.5
    assert choose_offset([*rows, OffsetRow(0.0, 0.8975, 85, 8.0, 0.5)], 0, 99).within == 0.0


def test_more_offset_finds_more():
    logits = {name: s.share * 4 - 2.5 for name, s in SAMPLES.items()}
    rows = try_offsets(SAMPLES, logits)
    for within in WITHIN:
        found = [row.found for row in rows if row.within == within]
        assert found == sorted(found)
    best = max(rows, key=lambda row: row.dsc)
    assert best.dsc == 1.0
    assert decided(SAMPLES["p0"], logits["p0"], best.offset).tolist() == SAMPLES["p0"].truth.tolist()
    network, either = (found_by_network(SAMPLES, either=each) for each in (False, True))
    assert sum(f.found for f in network) == 0
    assert all(f.dsc == 1 for f in either)


def test_trees_that_can_only_lose_may_lose_half(monkeypatch):
    """The network finds 200 lesions and loses 5 ml, either space finds 210."""
    rows = [OffsetRow(0.0, 0.9, 197, 5.4), OffsetRow(1.0, 0.8, 198, 5.4), OffsetRow(2.0, 0.7, 206, 5.0)]
    network, either = [CaseFigures(0.5, 0.0, 5.0, 220, 200)], [CaseFigures(0.5, 0.0, 5.0, 220, 210)]
    monkeypatch.setattr(fitting, "found_by_network", lambda _, either: either_or(either))
    monkeypatch.setattr(fitting, "try_offsets", lambda *_: rows)

    def either_or(wanted):
        return either if wanted else network

    assert choose_for_role({}, {}, Role.REMOVES, 0.98).offset == 1.0  # 198 of 200, and FNV no more than 0.5 ml above 5
    assert choose_for_role({}, {}, Role.DECIDES, 0.98).offset == 2.0  # 205.8 of 210
    assert choose_for_role({}, {}, Role.SAYS, 0.98).offset == 2.0
    assert choose_for_role({}, {}, Role.DECIDES, 0.9).offset == 0.0  # 189 of 210
    rows[1:] = [OffsetRow(1.0, 0.8, 198, 5.6)]
    assert choose_for_role({}, {}, Role.REMOVES, 0.98) is None


def test_a_sample_is_what_evidence_and_truth_say(tmp_path):
    evidence = small_evidence()
    truth = np.zeros(evidence.hot.shape, bool)
    truth[4:7, 5:8, 17:20] = True
    truth[0, 0, 0] = True  # below the threshold
    made = make_focus_sample(evidence, truth)
    assert sorted(set(made.share.tolist())) == [0, 1]
    assert made.focus_ml.sum() == pytest.approx(evidence.hot.sum() * 0.064)
    assert float(made.outside_ml) == pytest.approx(0.064)
    assert made.lesion.max() == 0
    assert np.array_equal(made.hot, evidence.hot)
    assert made.either.sum() == 27
    save_focus_samples(tmp_path / "a.npz", {Tracer.FDG: made})
    again = load_focus_samples(tmp_path / "a.npz")
    assert set(again) == {Tracer.FDG}
    assert np.array_equal(again[Tracer.FDG].features, made.features, equal_nan=True)
    assert of_tracer({"x": again, "y": {}}, Tracer.FDG).keys() == {"x"}
