import json
from dataclasses import replace
from pathlib import Path

import pytest
from builders.cases import GRIDS, TINY_NETWORK, memory_case, organ_map, write_tiny_member
from builders.networks import CLASSES
from builders.second_opinions import bone_model

from deeppsma.core.errors import ConfigurationError
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.models.store import WeightsStore
from deeppsma.models.weights import Member
from deeppsma.pipeline.method import Method
from deeppsma.pipeline.recipe import Recipe
from deeppsma.postprocessing.second_opinion.store import write_second_opinions

NOWHERE = Path("nowhere")
FDG_MEMBER, BOTH = Member("fdg", NOWHERE, CLASSES, ""), Member("both", NOWHERE, TINY_NETWORK, "")


def test_members_that_cannot_be_averaged_are_refused():
    with pytest.raises(ConfigurationError, match="averages logits, and fdg answers with classes"):
        Method(Recipe("r", ("fdg",), "single"), (FDG_MEMBER,))
    with pytest.raises(ConfigurationError, match="no member answers for any tracer"):
        Method(Recipe("r", ("fdg",), "single", average="probabilities"), ())


def test_a_method_knows_whom_its_members_answer_for():
    method = Method(Recipe("r", ("fdg", "both"), "single", average="probabilities"), (FDG_MEMBER, BOTH))
    assert method.name == "r"
    assert method.tracers == tuple(Tracer)
    assert method.members_of(Tracer.PSMA) == [BOTH]
    assert Method(method.recipe, (FDG_MEMBER,), "alone").tracers == (Tracer.FDG,)


def test_a_name_is_no_part_of_what_a_method_is():
    recipe = Recipe("r", ("both",), "single")
    assert Method(recipe, (BOTH,)).identity == Method(recipe, (BOTH,), "other").identity
    assert Method(recipe, (BOTH,)).identity != Method(Recipe("r", ("both",), "mean"), (BOTH,)).identity


def write_opinions(folder, offset):
    write_second_opinions(folder, {tracer: bone_model(tracer, offset=offset) for tracer in Tracer}, "nobody", {})
    return str(folder)


def with_organs():
    return memory_case(organs={tracer: Volume(organ_map(GRIDS[tracer]), GRIDS[tracer]) for tracer in Tracer})


def without_organs(case, *tracers):
    lacking = {t: replace(case.study(t), organs=None) for t in tracers}
    return replace(case, studies={**case.studies, **lacking})


@pytest.fixture
def chosen(tmp_path):
    """A method whose member and trees have stand-ins."""
    write_tiny_member(tmp_path / "weights/tiny", seed=1)
    write_tiny_member(tmp_path / "weights/tiny/without-organ-maps", seed=2)
    opinion = write_opinions(tmp_path / "trees", 0.0)
    write_opinions(tmp_path / "trees/without-organ-maps", 1.0)
    recipe = Recipe("r", ("tiny",), "mean", second_opinion=opinion)
    return Method.choose(recipe, WeightsStore((tmp_path / "weights",)))


def test_a_case_with_its_maps_is_judged_as_ever(chosen):
    assert chosen.for_case(with_organs()) is chosen


@pytest.mark.parametrize("lacking", [(Tracer.FDG,), (Tracer.PSMA, Tracer.FDG)])
def test_a_case_without_a_map_is_judged_by_who_has_learnt_to_do_without(chosen, lacking, tmp_path):
    found = chosen.for_case(without_organs(with_organs(), *lacking))
    (member,) = found.members
    assert member.name == "tiny-without-organ-maps"
    assert member.sha256 != chosen.members[0].sha256
    assert found.recipe.second_opinion == str(tmp_path / "trees/without-organ-maps")
    assert found.name == "r"
    maps = " and ".join(tracer.upper() for tracer in lacking)
    assert found.notes == (f"no {maps} organ map: {member.name} judges, which has learnt to do without",)


def test_who_judges_beside_a_stand_in_goes_without_a_map(chosen, tmp_path):
    store = WeightsStore((tmp_path / "weights",))
    both = Method.choose(replace(chosen.recipe, members=("tiny", "tiny/without-organ-maps")), store)
    assert [member.name for member in both.members] == ["tiny", "tiny-without-organ-maps"]
    assert both.notes == ()
    alone = both.without_organ_maps()
    assert alone.members == both.members[1:]
    assert alone.notes == chosen.without_organ_maps().notes


def test_a_recipe_does_without_a_stand_in_that_weights_of_ones_own_lack(chosen, tmp_path):
    (tmp_path / "weights/tiny/without-organ-maps/manifest.json").unlink()
    store = WeightsStore((tmp_path / "weights",))
    found = Method.choose(replace(chosen.recipe, members=("tiny", "tiny/without-organ-maps")), store)
    assert [member.name for member in found.members] == ["tiny"]
    assert found.notes == ("no tiny/without-organ-maps among the weights: recipe r does without this member",)


def test_trees_that_have_learnt_from_other_logits_are_not_asked(chosen, tmp_path):
    (tmp_path / "trees/without-organ-maps/card.json").unlink()
    found = chosen.without_organ_maps()
    assert found.recipe.second_opinion == ""
    assert found.notes[1] == "the second opinion has learnt from other weights than these: it is not asked"


def test_without_a_stand_in_and_without_eyes_for_organs_nothing_changes(chosen, tmp_path):
    blind = replace(
        chosen.members[0], network=replace(TINY_NETWORK, channels=("fdg_pet", "psma_pet"), organ_embedding=0)
    )
    assert replace(chosen, members=(blind,)).without_organ_maps().members == (blind,)
    (tmp_path / "weights/tiny/without-organ-maps/manifest.json").unlink()
    assert chosen.without_organ_maps() is chosen


def test_stand_ins_are_part_of_what_a_method_is(chosen, tmp_path):
    before = chosen.identity
    write_tiny_member(tmp_path / "weights/tiny/without-organ-maps", seed=3)
    assert chosen.identity != before
    write_tiny_member(tmp_path / "weights/tiny/without-organ-maps", seed=2)
    assert chosen.identity == before
    (tmp_path / "trees/without-organ-maps/card.json").unlink()
    assert chosen.identity != before


@pytest.mark.parametrize("folder", ["trees", "trees/without-organ-maps"])
@pytest.mark.parametrize("change", [{"offset": 2.25}, {"within": 0.25}, {"role": "says"}], ids=str)
def test_how_trees_decide_is_part_of_what_a_method_is(folder, change, chosen, tmp_path):
    before, path = chosen.identity, tmp_path / folder / "card.json"
    card = json.loads(path.read_text())
    card["tracers"]["fdg"] |= change
    path.write_text(json.dumps(card))
    assert chosen.identity != before
