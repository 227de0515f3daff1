"""Where members are found: folders of them, and nnU-Net's results folders as they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deeppsma.errors import WeightsError
from deeppsma.nnunet.adopt import adopt_model, find_models
from deeppsma.resources import resources_folder
from deeppsma.weights import MANIFEST_NAME, WEIGHTS_NAME, Member, read_member

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
            remedy = f"a member is a folder with {MANIFEST_NAME} and {WEIGHTS_NAME}, or a model folder of nnU-Net"
            raise WeightsError(first, "no member there", remedy)
        return cls((first, shipped))

    def names(self) -> list[str]:
        """Names of all members."""
        return sorted({name for folder in self.folders for name in _names_in(folder)})

    def choose(self, wanted: tuple[str, ...]) -> list[Member]:
        """Members that a recipe asks for.

        Parameters
        ----------
        wanted
            Names; or "*" alone for all members of the first folder that has
            any, so that weights of one's own are not mixed with shipped ones.
            Networks of classes (PaIRe) are not among them, unless there are
            no others.

        Raises
        ------
        WeightsError
            If a member is missing, or the folder that comes first offers
            members and none of them is asked for.
        """
        if wanted == (ALL_MEMBERS,):
            folder = next((folder for folder in self.folders if _names_in(folder)), None)
            if folder is None:
                remedy = "train some, or give their folder with --weights"
                raise WeightsError(str(self.folders[0]), "no weights to average", remedy)
            members = [_member_in(folder, name) for name in _names_in(folder)]
            return [member for member in members if not member.network.classes] or members
        members = [self.member(name) for name in wanted]
        first = self.folders[0]
        if len(self.folders) > 1 and not set(_names_in(first)) & set(wanted):
            found = f"holds {', '.join(_names_in(first))}, and the recipe asks for {', '.join(wanted)}"
            raise WeightsError(
                first, found, "rename the member, or choose the recipe 'ensemble', or 'nnunet' for models of nnU-Net"
            )
        return members

    def member(self, name: str) -> Member:
        """The member of a name.

        Raises
        ------
        WeightsError
            If there is none, or its manifest makes no sense.
        """
        for folder in self.folders:
            if name in _names_in(folder):
                return _member_in(folder, name)
        there = ", ".join(self.names()) or "none"
        raise WeightsError(name, f"no such member; there are: {there}", "train it, or give its folder with --weights")


def _names_in(folder: Path) -> list[str]:
    own = {path.parent.name for path in folder.glob(f"*/{MANIFEST_NAME}")}
    return sorted(own | set(find_models(folder)))


def _member_in(folder: Path, name: str) -> Member:
    if (folder / name / MANIFEST_NAME).exists():
        return read_member(folder / name)
    return adopt_model(name, find_models(folder)[name])
