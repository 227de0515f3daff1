"""Where members are found: folders of them, and nnU-Net's results folders as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deeppsma.core.errors import WeightsError
from deeppsma.core.settings import resources_folder
from deeppsma.core.tracer import Tracer
from deeppsma.models.gtrc.consensus import Consensus
from deeppsma.models.nnunet.adopt import adopt_model
from deeppsma.models.repositories import Repository, find_consensus, refuse_missing_weights
from deeppsma.models.weights import MANIFEST_NAME, STAND_IN_FOLDER, WEIGHTS_NAME, Member, read_member

#: Stands for every member of a folder.
ALL_MEMBERS = "*"


@dataclass(frozen=True)
class WeightsStore:
    """Folders that hold members, first come first served.

    Parameters
    ----------
    folders
        Searched in order; one that is not there is skipped.
    """

    folders: tuple[Path, ...]

    @classmethod
    def default(cls, first: Path | None = None) -> WeightsStore:
        """The folder given, then the shipped weights.

        Raises
        ------
        WeightsError
            If ``first`` is given and holds no member.
        """
        shipped = resources_folder() / "weights"
        if first is None:
            return cls((shipped,))
        if not _names_in(first):
            refuse_missing_weights(first)
            remedy = f"a member is a folder with {MANIFEST_NAME} and {WEIGHTS_NAME}, or a model folder of nnU-Net"
            raise WeightsError(first, "no member there", remedy)
        return cls((first, shipped))

    def names(self) -> list[str]:
        """Names of all members."""
        return sorted({name for folder in self.folders for name in _names_in(folder)})

    def choose(self, wanted: tuple[str, ...], average: str = "logits") -> list[Member]:
        """Members that a recipe asks for.

        Parameters
        ----------
        wanted
            Names, as for `member`; or "*" alone for all that can be averaged
            so of the first folder that has any member, so that weights of
            one's own are not mixed with shipped ones.
        average
            Of "*": "logits" takes networks whose answers are independent
            (CDS), "probabilities" those of classes (PaIRe, nnU-Net).

        Raises
        ------
        WeightsError
            If a member is missing, or the folder that comes first offers
            members and none of them is asked for.
        """
        if wanted == (ALL_MEMBERS,):
            return self._all(exclusive=average == "probabilities")
        members = [self.member(name) for name in wanted]
        first = self.folders[0]
        if len(self.folders) > 1 and not set(_names_in(first)) & set(wanted):
            found = f"holds {', '.join(_names_in(first))}, and the recipe asks for {', '.join(wanted)}"
            remedy = _fitting_recipe(_names_in(first))
            raise WeightsError(first, found, remedy)
        return members

    def _all(self, exclusive: bool) -> list[Member]:
        folder = next((folder for folder in self.folders if _names_in(folder)), None)
        if folder is None:
            remedy = "train some, or give their folder with --weights"
            raise WeightsError(str(self.folders[0]), "no weights to average", remedy)
        own, models = _own_in(folder), Repository.of(folder).models
        members = [read_member(path) for path in own.values()]
        members = [member for member in members if member.network.exclusive == exclusive]
        if exclusive:  # as all models of nnU-Net do; where they do not count, they are not read
            members += [adopt_model(name, path) for name, path in models.items()]
        if not members:
            kind, other = ("classes", "'ensemble'") if exclusive else ("no classes", "'nnunet'")
            found = f"holds {', '.join(_names_in(folder))}: no network that answers with {kind}"
            raise WeightsError(folder, found, f"choose the recipe {other}, or one that names them")
        return sorted(members, key=lambda member: member.name)

    def missing_stand_ins(self, wanted: Sequence[str]) -> list[str]:
        """Of the names that a recipe asks for, those of stand-ins of members that have none.

        Parameters
        ----------
        wanted
            Names, as for `member`.
        """
        return [name for name in wanted if (whose := _stood_in_for(name)) and self.member(whose).stand_in() is None]

    def passed_over(self, chosen: Sequence[Member]) -> list[str]:
        """Members of the folder that comes before the shipped ones which are not among those chosen."""
        taken = {member.name for member in chosen}
        return [name for name in _names_in(self.folders[0]) if name not in taken] if len(self.folders) > 1 else []

    def consensus(self, tracer: Tracer) -> Consensus:
        """GTRC-Net's consensus networks for a tracer.

        Raises
        ------
        WeightsError
            If there are none, or they cannot be used.
        """
        for folder in self.folders:
            found = find_consensus(folder, tracer)
            if found is not None:
                return found
        remedy = "import a clone of GTRC-Net that has them, or choose recipe gtrc_quick"
        raise WeightsError(str(self.folders[0]), f"no consensus networks for {tracer.upper()} there", remedy)

    def member(self, name: str) -> Member:
        """The member of a name; with ``/without-organ-maps`` after it, the one that stands in for that member.

        Raises
        ------
        WeightsError
            If there is none, or its manifest makes no sense.
        """
        if of_whom := _stood_in_for(name):
            stand_in = self.member(of_whom).stand_in()
            if stand_in is None:
                raise WeightsError(name, "no such member", f"put one into the folder of {of_whom}, or leave it out")
            return stand_in
        for folder in self.folders:
            if name in _names_in(folder):
                return _member_in(folder, name)
        there = ", ".join(self.names()) or "none"
        raise WeightsError(name, f"no such member; there are: {there}", "train it, or give its folder with --weights")


def _stood_in_for(name: str) -> str:
    """Name of the member whose stand-in is meant, or empty."""
    ending = f"/{STAND_IN_FOLDER}"
    return name.removesuffix(ending) if name.endswith(ending) else ""


def _fitting_recipe(names: Sequence[str]) -> str:
    if recipe := next((r for r in ("gtrc", "lesiontracer") if any(name.startswith(f"{r}-") for name in names)), ""):
        return f"choose the recipe {recipe!r}"
    return "rename the member, or choose the recipe 'ensemble', or 'nnunet' for models of nnU-Net"


def _own_in(folder: Path) -> dict[str, Path]:
    return {path.parent.name: path.parent for path in sorted(folder.glob(f"*/{MANIFEST_NAME}"))}


def _names_in(folder: Path) -> list[str]:
    own, models = _own_in(folder), Repository.of(folder).models
    if both := sorted(set(own) & set(models)):
        found = f"two members named {both[0]}, {own[both[0]]} and {models[both[0]]}"
        raise WeightsError(folder, found, "rename one of them")
    return sorted({*own, *models})


def _member_in(folder: Path, name: str) -> Member:
    own = _own_in(folder)
    return read_member(own[name]) if name in own else adopt_model(name, Repository.of(folder).models[name])
