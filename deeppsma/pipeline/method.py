"""A recipe with the members that fill it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from deeppsma.core.errors import ConfigurationError
from deeppsma.core.tracer import Tracer
from deeppsma.models.gtrc.consensus import Consensus
from deeppsma.models.nnunet.config import ModelConfig
from deeppsma.models.store import ALL_MEMBERS, WeightsStore
from deeppsma.models.weights import Member
from deeppsma.pipeline.recipe import Recipe
from deeppsma.postprocessing.lesion_classifier import load_classifier
from deeppsma.postprocessing.second_opinion.store import load_second_opinions


@dataclass(frozen=True)
class Method:
    """What is done with a case, and by which networks.

    Parameters
    ----------
    recipe
        What is done.
    members
        That fill it.
    name
        In tables; the recipe's if empty.
    notes
        What did not go as planned when they were chosen, a line each.
    consensus
        By tracer, where the recipe votes on foci.

    Raises
    ------
    ConfigurationError
        If logits are averaged over classes that exclude each other, no member
        answers for a tracer that others would be fused with, or the
        refinement makes no sense.
    """

    recipe: Recipe
    members: tuple[Member, ...]
    name: str = ""
    notes: tuple[str, ...] = ()
    consensus: Mapping[Tracer, Consensus] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        where = f"recipe {self.recipe.name}"
        if not self.name:
            object.__setattr__(self, "name", self.recipe.name)
        if self.recipe.average == "logits":
            for member in self.members:
                if member.network.exclusive:
                    found = f"averages logits, and {member.name} answers with classes"
                    raise ConfigurationError(where, found, "average probabilities, or choose other members")
        if self.recipe.refinement:
            load_classifier(self.recipe.refinement)  # that it makes no sense is said before the networks run
        if self.recipe.second_opinion:
            load_second_opinions(self.recipe.second_opinion)
        if not self.tracers:
            raise ConfigurationError(where, "no member answers for any tracer", "add one")

    @classmethod
    def choose(cls, recipe: Recipe, store: WeightsStore) -> Method:
        """A recipe with its members from a store.

        Raises
        ------
        WeightsError
            If a member is missing, or the consensus networks that a recipe
            votes with.
        """
        members = [_mirrored(member, recipe.mirrored) for member in store.choose(recipe.members, recipe.average)]
        left = store.passed_over(members) if recipe.members == (ALL_MEMBERS,) else []
        note = f"not averaged, because recipe {recipe.name} cannot: {', '.join(left)}"
        voters = {}
        if recipe.consensus is not None and recipe.consensus.method == "vote":
            voters = {t: store.consensus(t) for t in Tracer if any(t in m.network.tracers for m in members)}
        return cls(recipe, tuple(members), notes=(note,) if left else (), consensus=voters)

    @property
    def tracers(self) -> tuple[Tracer, ...]:
        """Whom a member answers for."""
        return tuple(tracer for tracer in Tracer if any(tracer in m.network.tracers for m in self.members))

    def members_of(self, tracer: Tracer) -> list[Member]:
        """Members that answer for a tracer."""
        return [member for member in self.members if tracer in member.network.tracers]

    @property
    def identity(self) -> dict[str, Any]:
        """What two results must share to be the same, names and summaries apart; JSON values."""
        what = {key: value for key, value in self.recipe.as_dict().items() if key not in ("name", "summary", "source")}
        if self.recipe.refinement:
            what["refinement"] = load_classifier(self.recipe.refinement).as_dict()
        if self.recipe.second_opinion:
            opinions = load_second_opinions(self.recipe.second_opinion)
            of_tracer = {t.value: [opinions.sha256[t], m.offset, m.decides] for t, m in opinions.models.items()}
            what["second_opinion"] = of_tracer
        networks = [{key: v for key, v in asdict(m.network).items() if key != "summary"} for m in self.members]
        if self.consensus:
            what["consensus_sha256"] = {tracer.value: each.sha256 for tracer, each in self.consensus.items()}
        return {"recipe": what, "sha256": [member.sha256 for member in self.members], "networks": networks}


def _mirrored(member: Member, mirrored: bool | None) -> Member:
    if mirrored is None or not isinstance(member.network, ModelConfig):
        return member
    return replace(member, network=replace(member.network, mirrored=mirrored))
