"""A recipe with the members that fill it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from deeppsma.core.errors import ConfigurationError
from deeppsma.core.tracer import Tracer
from deeppsma.io.case import Case
from deeppsma.models.channel_kinds import ORGANS
from deeppsma.models.gtrc.consensus import Consensus
from deeppsma.models.nnunet.config import ModelConfig
from deeppsma.models.store import ALL_MEMBERS, WeightsStore
from deeppsma.models.weights import Member
from deeppsma.pipeline.recipe import Recipe
from deeppsma.postprocessing.lesion_classifier import load_classifier
from deeppsma.postprocessing.second_opinion.store import load_second_opinions, stand_in_of


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
    def choose(cls, recipe: Recipe, store: WeightsStore, mirrored: bool | None = None) -> Method:
        """A recipe with its members from a store.

        Parameters
        ----------
        recipe, store
            What is done, and where its members are.
        mirrored
            Whether models of nnU-Net are averaged over mirrored images, too,
            whatever the recipe and they themselves say; None leaves it to them.

        Raises
        ------
        WeightsError
            If a member is missing, or the consensus networks that a recipe
            votes with.
        ConfigurationError
            If ``mirrored`` is given and no member is a model of nnU-Net.
        """
        absent = store.missing_stand_ins(recipe.members)
        wanted = tuple(name for name in recipe.members if name not in absent)
        members = [_mirrored(member, recipe.mirrored) for member in store.choose(wanted, recipe.average)]
        left = store.passed_over(members) if recipe.members == (ALL_MEMBERS,) else []
        notes = [f"not averaged, because recipe {recipe.name} cannot: {', '.join(left)}"] if left else []
        notes += [f"no {name} among the weights: recipe {recipe.name} does without this member" for name in absent]
        if mirrored is not None:
            notes += _about_mirroring(recipe, members, mirrored)
            recipe = replace(recipe, mirrored=mirrored)
            members = [_mirrored(member, mirrored) for member in members]
        voters = {}
        if recipe.consensus is not None and recipe.consensus.method == "vote":
            voters = {t: store.consensus(t) for t in Tracer if any(t in m.network.tracers for m in members)}
            notes += _of_other_folds(members, voters)
        return cls(recipe, tuple(members), notes=tuple(notes), consensus=voters)

    def for_case(self, case: Case) -> Method:
        """What is done with this case: this, or where it lacks an organ map what `without_organ_maps` says.

        Parameters
        ----------
        case
            Its headers are looked at.
        """
        return self.without_organ_maps([tracer for tracer in case.tracers if case.study(tracer).organs is None])

    def without_organ_maps(self, lacking: Sequence[Tracer] = tuple(Tracer)) -> Method:
        """The same by members and trees that have learnt to do without.

        Parameters
        ----------
        lacking
            Tracers that have no organ map.

        Returns
        -------
        Method
            This one, unless a member that looks at such a map has a stand-in.
            Trees without one are left out then: they have learnt from other
            logits.

        Raises
        ------
        WeightsError
            If a stand-in is broken.
        """
        instead = {member.name: _without_maps(member, lacking) for member in self.members}
        members = tuple({each.name: each for each in instead.values()}.values())  # one may stand in for several
        if members == self.members:
            return self
        which = ", ".join(dict.fromkeys(new.name for old, new in instead.items() if new.name != old))
        maps = " and ".join(tracer.upper() for tracer in lacking)
        notes = [f"no {maps} organ map: {which} judges, which has learnt to do without"]
        opinion = self.recipe.second_opinion and stand_in_of(self.recipe.second_opinion)
        if self.recipe.second_opinion and not opinion:
            notes.append("the second opinion has learnt from other weights than these: it is not asked")
        recipe = replace(self.recipe, second_opinion=opinion)
        return replace(self, recipe=recipe, members=members, notes=(*self.notes, *notes))

    def at_cutoff(self, cutoff: float) -> Method:
        """The same with another cutoff, of both tracers; a probability between 0 and 1."""
        return replace(self, recipe=replace(self.recipe, cutoffs=dict.fromkeys(Tracer, cutoff)))

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
            what["second_opinion"] = _identity_of_opinions(self.recipe.second_opinion)
        if stand_ins := [each.sha256 for member in self.members if (each := member.stand_in()) is not None]:
            what["without_organ_maps"] = stand_ins
        if opinion := self.recipe.second_opinion and stand_in_of(self.recipe.second_opinion):
            what["second_opinion_without_organ_maps"] = _identity_of_opinions(opinion)
        networks = [{key: v for key, v in asdict(m.network).items() if key != "summary"} for m in self.members]
        if self.consensus:
            what["consensus_sha256"] = {tracer.value: each.sha256 for tracer, each in self.consensus.items()}
        return {"recipe": what, "sha256": [member.sha256 for member in self.members], "networks": networks}


def _identity_of_opinions(name: str) -> dict[str, list[Any]]:
    """By tracer: the trees, and all that turns what they say into a mask."""
    opinions = load_second_opinions(name)
    return {t.value: [opinions.sha256[t], m.offset, m.within, m.role.value] for t, m in opinions.models.items()}


def _without_maps(member: Member, lacking: Sequence[Tracer]) -> Member:
    """A member, or its stand-in if it looks at an organ map that is not there."""
    if not any(member.network.needs(ORGANS, tracer) for tracer in lacking):
        return member
    return member.stand_in() or member


def _of_other_folds(members: Sequence[Member], consensus: Mapping[Tracer, Consensus]) -> list[str]:
    """GTRC-Net's networks that are of other folds than the consensus networks, a line each."""
    notes = []
    for member in members:
        network = member.network
        if isinstance(network, ModelConfig) and member.name.startswith("gtrc-"):
            voting = tuple(consensus[network.tracer].networks)
            if set(voting) != set(network.folds):
                folds = f"{member.name} has folds {' '.join(network.folds)}, its consensus networks {' '.join(voting)}"
                notes.append(f"{folds}: not as published")
    return notes


def _about_mirroring(recipe: Recipe, members: Sequence[Member], mirrored: bool) -> list[str]:
    """What changes if mirroring is decided by whoever runs it, a line each."""
    models = {member.name: member.network for member in members if isinstance(member.network, ModelConfig)}
    if not models:
        found = f"recipe {recipe.name} has no model of nnU-Net, and no other network is run on mirrored images"
        raise ConfigurationError("mirroring", found, "leave --mirror, --no-mirror and DEEPPSMA_MIRROR out")
    notes = []
    if changed := [name for name, network in models.items() if network.mirrored != mirrored]:
        how = "on mirrored images, too" if mirrored else "without mirrored images"
        notes.append(
            f"as asked for, {', '.join(changed)} run {how}; recipe {recipe.name} or they themselves say otherwise"
        )
    fixed = [name for name, network in models.items() if mirrored and not network.plan.mirror_axes]
    if fixed:
        notes.append(f"not mirrored, because they were trained without: {', '.join(fixed)}")
    return notes


def _mirrored(member: Member, mirrored: bool | None) -> Member:
    if mirrored is None or not isinstance(member.network, ModelConfig):
        return member
    return replace(member, network=replace(member.network, mirrored=mirrored))
