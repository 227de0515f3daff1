import pytest
from builders.cases import TINY_NETWORK
from builders.networks import CLASSES

from deeppsma.core.errors import ConfigurationError
from deeppsma.core.tracer import Tracer
from deeppsma.models.weights import Member
from deeppsma.pipeline.method import Method
from deeppsma.pipeline.recipe import Recipe

FDG_MEMBER, BOTH = Member("fdg", None, CLASSES, ""), Member("both", None, TINY_NETWORK, "")


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
