"""A case brought to where networks see it: upright, in the two spaces, with organ maps and CTs beside the PETs.

Every image is read at most once, and only if something asks for it. Whatever is missing and can be done without is
noted; whatever cannot be done without is an error before any network runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.box import Box, IndexZyx
from deeppsma.core.errors import InputError
from deeppsma.core.geometry import Geometry
from deeppsma.core.resampling import resample, resample_labels, seen_box
from deeppsma.core.run_log import RunLog
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.io.case import Case
from deeppsma.models.channel_kinds import CT, ORGANS, tracer_and_kind
from deeppsma.models.config import NetworkConfig
from deeppsma.preprocessing.channels import AIR_HU, Channel, Channels, Sight, compact, make_channel
from deeppsma.preprocessing.orientation import Orientation, upright
from deeppsma.preprocessing.spaces import Space, build_spaces, pooled_maximum
from deeppsma.preprocessing.tilt import answers_on, is_tilted, straightened, tilt_deg

#: What a missing organ map means, in words.
SEES_NO_ORGANS = (
    "the network sees no organs and calls normal uptake disease (kidneys, liver, bladder, glands; cds-compact has "
    "DSC 0.2 for 0.9 on synthetic patients then): do not rely on this mask, give TotalSegmentator's map"
)
#: The same of a network that was trained on cases without one, too; measured in docs/experiments.md.
DOES_WITHOUT_ORGANS = (
    "the network sees no organs, which it has learnt to do without (shipped weights: DSC 0.92 for 0.95 on PSMA, 0.89 "
    "for 0.92 on FDG, synthetic patients): TotalSegmentator's map makes a better mask"
)

#: How far beyond the spaces organ maps and CTs are kept: the centre of the last block of a network's working grid may
#: lie beyond its space's last voxel by half a block.
_MARGIN_MM = 30.0


class Network(Protocol):
    """What is asked of a network's configuration here."""

    @property
    def tracers(self) -> tuple[Tracer, ...]:
        """Whom it answers for."""
        ...

    def needs(self, what: str, tracer: Tracer) -> bool:
        """Whether a channel is made from a tracer's "organs" or "ct"."""
        ...

    def requires(self, what: str, tracer: Tracer) -> bool:
        """Whether it cannot do without."""
        ...


class PreparedCase:
    """Images of a case, read once, upright (a tilted PET straightened), and cropped to its spaces.

    Parameters
    ----------
    case
        The case; its headers are checked, its PETs are read now.
    log
        Timings and notes are added to it.
    keep_whole
        Keep the whole PETs in memory, and whole organ maps and CTs; else
        `pet` reads them again, and of the others what the spaces see stays.

    Attributes
    ----------
    spaces
        By fixed tracer; see `deeppsma.preprocessing.spaces.build_spaces`.

    Raises
    ------
    InputError
        If a PET is unusable.
    """

    def __init__(self, case: Case, log: RunLog | None = None, keep_whole: bool = False) -> None:
        self.case = case
        self.log = log or RunLog(case=case.name)
        self._keeps_whole = keep_whole
        self._organs: dict[Tracer, Volume | None] = {}
        self._cts: dict[Tracer, Volume | None] = {}
        self._channels: dict[tuple[Tracer, str, IndexZyx], Channel] = {}
        self._labels: dict[tuple[Tracer, Tracer, IndexZyx], NDArray] = {}
        for line in self._notes():
            self.log.note(line)
        pets = {tracer: self._read_pet(tracer) for tracer in case.tracers}
        with self.log.watch.stage("spaces"):
            self.spaces = build_spaces(pets, case.thresholds, case.fdg_to_psma)
        self._pets = pets if keep_whole else {}

    def _notes(self) -> list[str]:
        lines = list(self.case.notes)
        for tracer in Tracer:
            if tracer not in self.case.studies:
                lines.append(f"no {tracer.upper()} study: the networks see {tracer.other.upper()} alone")
            else:
                study = self.case.study(tracer)
                lines += self._unsaid(tracer, "PET", study.pet.unsaid_position)
                if self.is_tilted(tracer):
                    tilt = f"its grid is turned by {tilt_deg(self.grid(tracer)):.0f} degrees"
                    lines.append(f"{tracer.upper()} PET: {tilt}: the networks see it resampled to a straight one")
                if study.organs is not None:
                    lines += self._unsaid(tracer, "organ map", study.organs.unsaid_position)
        if len(self.case.studies) == len(Tracer) and self.case.fdg_to_psma is None:
            lines.append("no registration of the two sessions: each tracer is seen in its own space alone")
        return lines

    @staticmethod
    def _unsaid(tracer: Tracer, what: str, said: str | None) -> list[str]:
        return [] if said is None else [f"{tracer.upper()} {what}: {said}"]

    def grid(self, tracer: Tracer) -> Geometry:
        """Grid of a PET as its file has it: the one that masks come out on."""
        return self.case.study(tracer).pet.geometry

    def is_tilted(self, tracer: Tracer) -> bool:
        """Whether a PET is seen on another grid than its own: one that is straight."""
        return is_tilted(self.grid(tracer))

    def pet(self, tracer: Tracer) -> Volume:
        """Whole PET, upright, straightened if it is tilted, SUV float32."""
        return self._pets[tracer] if tracer in self._pets else self._read_pet(tracer)

    def _read_pet(self, tracer: Tracer) -> Volume:
        with self.log.watch.stage("read PET"):
            pet = self.case.study(tracer).read_pet()
            return straightened(pet) if self.is_tilted(tracer) else upright(pet)

    def organs(self, tracer: Tracer) -> Volume | None:
        """Organ map on its own grid, upright, uint8, as far as the spaces see it; None where the case has none."""
        if tracer not in self._organs:
            with self.log.watch.stage("read organs, CT"):
                study = self.case.studies.get(tracer)
                volume = study.read_organs() if study is not None else None
                self._organs[tracer] = None if volume is None else self._near_spaces(tracer, upright(volume))
        return self._organs[tracer]

    def _near_spaces(self, tracer: Tracer, volume: Volume) -> Volume:
        """What the spaces see of an image, and a margin, so that the rest of it can go."""
        if self._keeps_whole or not self.spaces:
            return volume
        seen: Box | None = None
        for fixed, space in self.spaces.items():
            if tracer is not fixed and not space.sees_other:
                continue
            transform = None if tracer is fixed else self.case.transform(fixed)
            box = seen_box(volume.geometry, space.geometry, transform, _MARGIN_MM)
            seen = box.union(seen) if box.size else seen
        return volume if seen is None else volume.cropped(seen)

    def organs_if_read(self, tracer: Tracer) -> Volume | None:
        """The organ map, if something has asked for it before: for what is worth knowing, but not worth reading."""
        return self._organs.get(tracer)

    def ct(self, tracer: Tracer) -> Volume | None:
        """CT on its own grid, upright, HU, as far as the spaces see it; None where the case has none."""
        if tracer not in self._cts:
            with self.log.watch.stage("read organs, CT"):
                study = self.case.studies.get(tracer)
                volume = study.read_ct() if study is not None else None
                self._cts[tracer] = None if volume is None else self._near_spaces(tracer, upright(volume))
                if study is not None and study.ct is not None and study.ct.unsaid_position is not None:
                    self.log.note(f"{tracer.upper()} CT: {study.ct.unsaid_position}")
        return self._cts[tracer]

    def has_organs(self, tracer: Tracer, effect: str) -> bool:
        """Whether there is an organ map; if not, what that means is noted."""
        if self.organs(tracer) is not None:
            return True
        if tracer in self.case.studies:
            self.log.note(f"no {tracer.upper()} organ map: {effect}")
        return False

    def check(self, networks: Sequence[tuple[str, Network, bool]]) -> None:
        """Read what networks are fed beside the PETs, and refuse a case that lacks what they cannot do without.

        Parameters
        ----------
        networks
            Names, configurations, and whether they have learnt to do without
            organ maps.

        Raises
        ------
        InputError
            If a file is unusable, or a CT or an organ map is missing that a
            network cannot do without.
        """
        for tracer in self.case.tracers:
            folder = self.case.study(tracer).pet.path.parent
            for name, network, does_without in networks:
                if not self._runs(network):
                    continue
                effect = DOES_WITHOUT_ORGANS if does_without else SEES_NO_ORGANS
                blind = network.needs(ORGANS, tracer) and not self.has_organs(tracer, effect)
                if blind and network.requires(ORGANS, tracer):
                    remedy = "add TotalSegmentator's map, or choose a recipe without organ classes"
                    raise InputError(folder, f"no organ map, and {name} needs one", remedy)
                if network.needs(CT, tracer) and self.ct(tracer) is None:
                    if network.requires(CT, tracer):
                        remedy = "add the CT, or choose a recipe without"
                        raise InputError(folder, f"no CT, and {name} needs one", remedy)
                    self.log.note(f"no {tracer.upper()} CT: the network sees none")

    def _runs(self, network: Network) -> bool:
        return any(tracer in self.case.studies for tracer in network.tracers)

    def channels(self, config: NetworkConfig, fixed: Tracer) -> Channels:
        """Input channels of one of our own networks on a space; each is made once, whoever asks.

        Parameters
        ----------
        config
            Names the channels and the working grid.
        fixed
            Whose space.

        Notes
        -----
        A block of native voxels has its highest SUV, and the label and HU at
        its centre.
        """
        space = self.spaces[fixed]
        block = config.block_zyx(space.geometry)
        stack = tuple(self._channel(fixed, name, block) for name in config.channels)
        return Channels(space.geometry.coarsened(block), block, stack)

    def _channel(self, fixed: Tracer, name: str, block: IndexZyx) -> Channel:
        if (fixed, name, block) not in self._channels:
            tracer, kind = tracer_and_kind(name)
            made = compact(kind, make_channel(kind, self.sight(tracer, fixed, block)))
            self._channels[fixed, name, block] = made
        return self._channels[fixed, name, block]

    def sight(self, tracer: Tracer, fixed: Tracer, block: IndexZyx = (1, 1, 1)) -> Sight:
        """A tracer's session on the working grid of a space."""
        space = self.spaces[fixed]
        grid = space.geometry.coarsened(block)
        return Sight(
            pooled_maximum(space.pet[tracer], block),
            self.case.thresholds.get(tracer, 1.0),
            grid.spacing_zyx,
            lambda: self._labels_on(tracer, space, block),
            lambda: self._hu_on(tracer, space, grid),
        )

    def whole_sight(self, tracer: Tracer) -> Sight:
        """A tracer's session on the whole grid of its own PET, upright; of a case whose images are kept whole."""
        if not self._keeps_whole:
            raise ValueError("whole images of a case are wanted that was prepared without keep_whole")
        pet = self.pet(tracer)
        return Sight(
            pet.voxels,
            self.case.study(tracer).threshold_suv,
            pet.geometry.spacing_zyx,
            lambda: resample_labels(self.organs(tracer), pet.geometry),
            lambda: self._resampled_ct(tracer, pet.geometry, None),
        )

    def _labels_on(self, tracer: Tracer, space: Space, block: IndexZyx) -> NDArray:
        key = (tracer, space.fixed, block)
        if key not in self._labels:
            grid = space.geometry.coarsened(block)
            seen = tracer is space.fixed or space.sees_other
            transform = None if tracer is space.fixed or not seen else self.case.transform(space.fixed)
            self._labels[key] = resample_labels(self.organs(tracer) if seen else None, grid, transform)
        return self._labels[key]

    def _hu_on(self, tracer: Tracer, space: Space, grid: Geometry) -> NDArray | None:
        if tracer is space.fixed:
            return self._resampled_ct(tracer, grid, None)
        if not space.sees_other:
            return np.full(grid.shape_zyx, AIR_HU, dtype=np.int16)
        return self._resampled_ct(tracer, grid, space.fixed)

    def _resampled_ct(self, tracer: Tracer, grid: Geometry, seen_from: Tracer | None) -> NDArray | None:
        ct = self.ct(tracer)
        if ct is None:
            return None
        return resample(ct, grid, None if seen_from is None else self.case.transform(seen_from), outside=AIR_HU)

    def forget_channels(self, fixed: Tracer) -> None:
        """Let go of the channels that were made on a space."""
        self._channels = {key: channel for key, channel in self._channels.items() if key[0] is not fixed}
        self._labels = {key: labels for key, labels in self._labels.items() if key[1] is not fixed}

    def on_pet(self, tracer: Tracer, crop: NDArray | None, dtype: type[np.generic] = np.uint8) -> Volume:
        """What was found on the crop of a tracer's space, on the exact grid of its PET's file.

        Parameters
        ----------
        tracer
            Whose space.
        crop
            [z, y, x] on the crop; None where nothing was found.
        dtype
            Of the voxels that come out; 0 outside the crop.
        """
        grid = self.grid(tracer)
        if self.is_tilted(tracer):
            return self._on_tilted_pet(tracer, crop, dtype)
        orientation = Orientation.of(grid)
        z, y, x = (grid.shape_zyx[axis] for axis in orientation.axes)
        whole = np.zeros((z, y, x), dtype=dtype)
        if crop is not None and tracer in self.spaces:
            whole[self.spaces[tracer].box.slices] = crop
        return Volume(orientation.turned_back(whole), grid)

    def _on_tilted_pet(self, tracer: Tracer, crop: NDArray | None, dtype: type[np.generic]) -> Volume:
        grid = self.grid(tracer)
        if crop is None or tracer not in self.spaces or not crop.any():
            return Volume(np.zeros(grid.shape_zyx, dtype=dtype), grid)
        space, study = self.spaces[tracer], self.case.study(tracer)
        judged = Volume(crop.astype(dtype), space.geometry)
        return Volume(answers_on(study.read_pet(), study.threshold_suv, judged, space.hot), grid)

    def on_crop(self, tracer: Tracer, voxels: NDArray) -> NDArray:
        """Labels on the grid of a PET's file, upright and cropped to its space; the inverse of `on_pet`.

        Raises
        ------
        KeyError
            If the tracer has no space.
        """
        space, grid = self.spaces[tracer], self.grid(tracer)
        if self.is_tilted(tracer):
            labels = voxels.astype(np.uint8) if voxels.dtype == bool else voxels
            return resample(Volume(labels, grid), space.geometry, labels=True).astype(voxels.dtype)
        return Orientation.of(grid).turned(voxels)[space.box.slices]
