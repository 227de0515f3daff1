"""Recipes: which members, which fusion, which growing. Data, in ``resources/recipes``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from deeppsma.core.anatomy import LABEL_MAX
from deeppsma.core.errors import ConfigurationError
from deeppsma.core.settings import from_plain, names, read_toml
from deeppsma.core.tracer import Tracer
from deeppsma.models.store import ALL_MEMBERS

FUSIONS = ("single", "bothways", "mean")
AVERAGES = ("logits", "probabilities")


@dataclass(frozen=True)
class Growing:
    """Organ-aware region growing on the threshold.

    Parameters
    ----------
    radius_mm
        How far the mask may grow.
    kept_organs
        TotalSegmentator labels inside which the mask stays as it was.
    fdg_kept_organs
        More of them, for FDG alone.
    """

    radius_mm: float
    kept_organs: tuple[int, ...] = ()
    fdg_kept_organs: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.radius_mm <= 50:
            raise ValueError(f"radius_mm must be above 0 and at most 50, not {self.radius_mm}")
        labels = (*self.kept_organs, *self.fdg_kept_organs)
        if any(not 1 <= label <= LABEL_MAX for label in labels):
            raise ValueError(f"kept_organs must be labels from 1 to {LABEL_MAX}, not {labels}")

    def kept(self, tracer: Tracer) -> tuple[int, ...]:
        """Labels that keep their mask on a tracer."""
        return self.kept_organs + (self.fdg_kept_organs if tracer is Tracer.FDG else ())


@dataclass(frozen=True)
class ConsensusStep:
    """GTRC-Net's way from the networks' classes to a mask.

    Parameters
    ----------
    method
        "vote": above-threshold voxels are divided into foci, and GTRC-Net's
        consensus networks vote on each. "grow": disease grows to
        above-threshold voxels within a radius, without normal uptake.
    radius_mm
        Of "grow".
    prominence, ball_radius_mm, published_numbering
        Of the foci; see `deeppsma.postprocessing.foci.FocusRule`.
    """

    method: str = "vote"
    radius_mm: float = 7.0
    prominence: float = 0.16666
    ball_radius_mm: float = 8.0
    published_numbering: bool = True

    def __post_init__(self) -> None:
        if self.method not in ("vote", "grow"):
            raise ValueError(f"method must be vote or grow, not {self.method!r}")
        for name in ("radius_mm", "prominence", "ball_radius_mm"):
            if not 0 < getattr(self, name) <= 50:
                raise ValueError(f"{name} must be above 0 and at most 50, not {getattr(self, name)}")


@dataclass(frozen=True)
class Recipe:
    """How a case is segmented.

    Parameters
    ----------
    name, summary, source
        For people.
    members
        Names of weights, or "*" for all of the store.
    fusion
        "single": each tracer's answer from its own space. "bothways": united
        with the answer from the other tracer's space. "mean": averaged with
        it; see `deeppsma.postprocessing.fusion.fuse`.
    average
        "logits": members' logits are averaged (CDS). "probabilities": their
        probabilities, each member in its tracer's own space (PaIRe); then
        members may answer for one tracer each, and ``fusion`` is "single".
    member_weights
        By member, where members count differently; 1 without.
    growing
        None for no growing.
    cutoffs
        By tracer: probability from which on (of logits) or beyond which (of
        probabilities, as PaIRe has it) a voxel is disease, in (0, 1); 0.5 for
        a tracer that is not named.
    normal_cutoffs
        By tracer: voxels whose probability of normal uptake lies above it are
        not disease, whatever has grown into them; 1 without. With
        probabilities.
    refinement
        Name of a model in ``resources/refinement`` that FDG lesions must
        pass, or empty.
    second_opinion
        Name of models in ``resources/second_opinion``, or a folder of one's
        own, that judge every focus of what the recipe finds, before
        refinement; or empty.
    window_overlap
        Share by which windows overlap, in [0, 1).
    consensus
        What stands in place of cutoffs and growing in GTRC-Net; None without.
        With probabilities.
    mirrored
        Whether nnU-Net's models are averaged over mirrored images, too; None
        for what each member says.
    """

    name: str
    members: tuple[str, ...]
    fusion: str
    summary: str = ""
    source: str = ""
    growing: Growing | None = None
    cutoffs: Mapping[str, float] = field(default_factory=dict)
    average: str = "logits"
    member_weights: Mapping[str, float] = field(default_factory=dict)
    normal_cutoffs: Mapping[str, float] = field(default_factory=dict)
    refinement: str = ""
    second_opinion: str = ""
    window_overlap: float = 0.5
    consensus: ConsensusStep | None = None
    mirrored: bool | None = None

    def __post_init__(self) -> None:
        if self.fusion not in FUSIONS:
            raise ValueError(f"fusion must be one of {', '.join(FUSIONS)}, not {self.fusion!r}")
        alone = ALL_MEMBERS not in self.members or len(self.members) == 1
        if not self.members or not alone or len(set(self.members)) != len(self.members):
            raise ValueError(f'members must be names, once each, or "{ALL_MEMBERS}" alone, not {self.members}')
        for cutoffs in (self.cutoffs, self.normal_cutoffs):
            if set(cutoffs) - set(Tracer) or any(not 0 < value < 1 for value in cutoffs.values()):
                raise ValueError(f"cutoffs must be between 0 and 1, by tracer, not {cutoffs}")
        if self.average not in AVERAGES:
            raise ValueError(f"average must be one of {', '.join(AVERAGES)}, not {self.average!r}")
        if self.average == "probabilities" and self.fusion != "single":
            raise ValueError("probabilities are averaged in each tracer's own space: fusion must be single")
        if self.average == "logits" and (self.normal_cutoffs or self.member_weights):
            raise ValueError("member_weights and normal_cutoffs belong to average = probabilities")
        if set(self.member_weights) - set(self.members) or any(
            not 0 < value < 1e6 for value in self.member_weights.values()
        ):
            raise ValueError(f"member_weights must be positive, of the recipe's members, not {self.member_weights}")
        instead = (self.cutoffs, self.normal_cutoffs, self.growing)
        if self.consensus is not None and (self.average == "logits" or any(instead)):
            raise ValueError("consensus goes with average = probabilities, in place of cutoffs and growing")
        if not 0 <= self.window_overlap < 1:
            raise ValueError(f"window_overlap must be at least 0 and below 1, not {self.window_overlap}")

    @property
    def looks_at_foci(self) -> bool:
        """Whether there is something to say of each focus."""
        return bool(self.second_opinion) or (self.consensus is not None and self.consensus.method == "vote")

    @property
    def both_spaces(self) -> bool:
        """Whether a tracer's disease is wanted as seen from the other tracer's space, too."""
        return self.fusion != "single"

    def cutoff(self, tracer: Tracer) -> float:
        """Probability from which on a voxel is disease."""
        return self.cutoffs.get(tracer.value, 0.5)

    def normal_cutoff(self, tracer: Tracer) -> float:
        """Probability of normal uptake above which a voxel is not disease."""
        return self.normal_cutoffs.get(tracer.value, 1.0)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for the run report."""
        return asdict(self)


def load_recipe(name: str) -> Recipe:
    """The recipe of a name, or of a file (a name that ends in ``.toml``).

    Raises
    ------
    ConfigurationError
        If there is none of that name, or a value makes no sense.
    """
    path, content = read_toml("recipes", name)
    # A file of one's own never passes for a shipped recipe.
    own = path.name if name.endswith(".toml") else name
    if "name" in content:
        raise ConfigurationError(path, "unknown keys ['name']", "mend the recipe: its name is its file's")
    try:
        return from_plain(Recipe, content | {"name": own})
    except ValueError as error:
        raise ConfigurationError(path, str(error), "mend the recipe") from None


def all_recipes() -> list[Recipe]:
    """Every recipe there is, by name."""
    return [load_recipe(name) for name in names("recipes")]
