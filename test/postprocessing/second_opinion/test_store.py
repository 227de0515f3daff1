import json
from dataclasses import replace

import numpy as np
import pytest
from builders.second_opinions import bone_model, small_evidence

from deeppsma.core.errors import ConfigurationError, WeightsError
from deeppsma.core.tracer import Tracer
from deeppsma.postprocessing.second_opinion.decide import Role, judge
from deeppsma.postprocessing.second_opinion.store import load_second_opinions, write_second_opinions


@pytest.fixture
def folder(tmp_path):
    roles = {Tracer.PSMA: Role.REMOVES, Tracer.FDG: Role.DECIDES}
    models = {t: replace(bone_model(t, role=role, offset=0.5), within=0.25) for t, role in roles.items()}
    write_second_opinions(tmp_path / "mine", models, "nobody", {"patients": 0})
    return tmp_path / "mine"


def test_models_round_trip(folder):
    found = load_second_opinions(str(folder))
    assert found.trained_on == "nobody"
    assert [found.models[t].role for t in Tracer] == [Role.REMOVES, Role.DECIDES]
    again, once = (judge(m, small_evidence()) for m in (found.models[Tracer.FDG], bone_model(offset=0.5)))
    assert again.logit.tolist() == once.logit.tolist()
    assert found.models[Tracer.FDG].offset == 0.5
    assert found.models[Tracer.FDG].within == 0.25


def test_a_card_of_before_judges_a_focus_as_a_whole(folder):
    card = json.loads((folder / "card.json").read_text())
    del card["tracers"]["fdg"]["within"]
    (folder / "card.json").write_text(json.dumps(card))
    assert load_second_opinions(str(folder)).models[Tracer.FDG].within == 0


def test_the_shipped_models_are_whole():
    found = load_second_opinions("shipped")
    assert "synthetic" in found.trained_on
    opinion = judge(found.models[Tracer.FDG], small_evidence())
    assert np.isfinite(opinion.logit).all()
    # The lesion is more probable than the liver.
    lesion = small_evidence().mean >= 0
    assert opinion.probability[opinion.piece[lesion]].min() > opinion.probability[opinion.piece[~lesion]].max()


def test_none_of_that_name(tmp_path):
    with pytest.raises(ConfigurationError, match="no 'second' there; choose one of shipped"):
        load_second_opinions("second")
    with pytest.raises(ConfigurationError, match="choose one of"):
        load_second_opinions(str(tmp_path))


def change(folder, **changes):
    card = json.loads((folder / "card.json").read_text())
    for key, value in changes.items():
        where = card["tracers"]["fdg"] if key in card["tracers"]["fdg"] else card
        where[key] = value
    (folder / "card.json").write_text(json.dumps(card))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 9}, "format 9"),
        ({"features": ["a", "b"]}, "look at more"),
        ({"forests": 2}, "no array"),
        ({"within": -1}, "within a focus"),
        ({"sha256": "0" * 64}, "not the file"),
        ({"tracers": {}}, "no second opinion"),
    ],
)
def test_a_card_that_does_not_fit_is_one_line(folder, changes, words):
    change(folder, **changes)
    with pytest.raises(WeightsError, match=words):
        load_second_opinions(str(folder))


def test_damaged_trees_are_one_line(folder):
    import hashlib

    trees = folder / "fdg.safetensors"
    trees.write_bytes(b"no trees")
    with pytest.raises(WeightsError, match="not the file"):
        load_second_opinions(str(folder))
    change(folder, sha256=hashlib.sha256(b"no trees").hexdigest())
    with pytest.raises(WeightsError, match="not readable"):
        load_second_opinions(str(folder))
    trees.unlink()
    with pytest.raises(WeightsError, match="not readable"):
        load_second_opinions(str(folder))
