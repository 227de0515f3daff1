"""One case, opened once: read, run through each network, and any recipe's masks made of it.

The one pipeline. `deeppsma.segment` applies one recipe; experiments hold many side by side; trainings of what comes
after the networks look at the logits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.box import Box
from deeppsma.core.components import components_of
from deeppsma.core.errors import ConfigurationError
from deeppsma.core.run_log import RunLog
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.inference.device import OPENVINO
from deeppsma.inference.ensemble import Inference, InferenceSettings, ProgressBar, run_members
from deeppsma.inference.logits import Logits
from deeppsma.io.case import Case
from deeppsma.models.early_import import import_early
from deeppsma.models.weights import Member
from deeppsma.pipeline.apply_recipe import CropMasks, apply_recipe, swept
from deeppsma.pipeline.method import Method
from deeppsma.pipeline.run_report import Findings, Resources, RunReport, describe_run
from deeppsma.pipeline.settling import unsettled_by
from deeppsma.pipeline.tracer_mask import probabilities
from deeppsma.postprocessing.lesion_classifier import load_classifier
from deeppsma.postprocessing.rethresholded import rethresholded_ml
from deeppsma.preprocessing.liver_threshold import liver_uptake
from deeppsma.preprocessing.prepared_case import PreparedCase
from deeppsma.preprocessing.spaces import Space


class CaseRun:
    """A case and the methods that are applied to it.

    Parameters
    ----------
    case
        The case; its PETs are read now.
    methods
        Names are unique, and so are the names of different members; all with
        one window overlap.
    device
        "auto", "cuda", "cpu" or "openvino".
    progress
        Shows how many windows are done.
    log
        Timings and fallbacks are added to it.

    Attributes
    ----------
    prepared
        Images and spaces of the case.
    methods
        As given.

    Raises
    ------
    ConfigurationError
        If two members share a name, or the overlaps differ.
    InputError
        If the case cannot be used, or lacks what a method cannot do without.
    """

    def __init__(
        self,
        case: Case,
        methods: Sequence[Method],
        device: str = "auto",
        progress: ProgressBar | None = None,
        log: RunLog | None = None,
    ) -> None:
        self.case, self.methods = case, tuple(methods)
        self.log = log or RunLog(case=case.name)
        self._members = _unique_members(methods)
        self._settings = InferenceSettings(
            any(method.recipe.both_spaces for method in methods), _one_overlap(methods), device, progress
        )
        for method in methods:
            for note in method.notes:
                self.log.note(note)
        self._imports = None if device == OPENVINO else import_early()  # it starts without torch
        whole_pets = any(member.network.exclusive for member in self._members)
        self.prepared = PreparedCase(case, self.log, keep_whole=whole_pets)
        self._check_images()
        self._inference: Inference | None = None

    def _check_images(self) -> None:
        """Read what methods need beside the PETs, so that what is missing is said before the networks run."""
        if not self.prepared.spaces:
            return  # no voxel reaches its threshold: nobody looks at them
        self.prepared.check([(m.name, m.network, m.does_without_organ_maps) for m in self._members])
        for method in self.methods:
            growing = method.recipe.growing
            for tracer in self.case.tracers:
                if growing is not None and growing.kept(tracer):
                    self.prepared.has_organs(tracer, "growing spares no organ")
                if method.recipe.second_opinion:
                    self.prepared.organs(tracer)
                    self.prepared.ct(tracer)
                if method.recipe.refinement and len(self.case.studies) == len(Tracer):
                    self.prepared.has_organs(tracer, "FDG lesions are not refined")

    @property
    def inference(self) -> Inference:
        """What the networks said; they are run when this is first asked for."""
        return self.infer(self._members) if self._inference is None else self._inference

    def infer(self, members: Sequence[Member], deciding: Method | None = None) -> Inference:
        """What the networks said so far, these members included; each is run once.

        Parameters
        ----------
        members
            Whose answers are wanted.
        deciding
            The one method whose masks will be made of the answers: where those
            before leave nothing to decide, a member does not answer. None: all
            answer everywhere, and any method may be applied.
        """
        if self._imports is not None:
            self._imports.result()
        before = self._inference or Inference()
        if missing := [member for member in members if member.name not in before.logits]:
            unsettled = None if deciding is None else unsettled_by(deciding, before.logits)
            self._inference = before.joined(run_members(self.prepared, missing, self._settings, unsettled))
        return self._inference or Inference()

    @property
    def logits(self) -> Mapping[str, Logits]:
        """By member name."""
        return self.inference.logits

    def apply(self, method: Method) -> CropMasks:
        """Masks that a method makes, on the crops of the spaces; its members must be those of the run's methods."""
        return apply_recipe(method, self.prepared, self.logits)

    def swept(self, method: Method, cutoffs: Sequence[float]) -> list[CropMasks]:
        """As `apply`, at each of several cutoffs."""
        return swept(method, self.prepared, self.logits, cutoffs)

    def on_pets(self, found: CropMasks) -> dict[Tracer, Volume]:
        """Masks as 0/1, uint8, on the exact grids of the PETs' files; empty where nothing was found."""
        with self.log.watch.stage("masks"):
            return {tracer: self.prepared.on_pet(tracer, found.masks.get(tracer)) for tracer in self.case.tracers}

    def probabilities(self, method: Method) -> dict[Tracer, Volume]:
        """Probabilities of disease, float32, on the exact grids of the PETs' files; 0 below the threshold."""
        crops = probabilities(method, self.prepared, self.logits)
        return {t: self.prepared.on_pet(t, crops.get(t), np.float32) for t in self.case.tracers}

    def report(self, method: Method, found: CropMasks) -> RunReport:
        """Run report of what a method found."""
        findings = {tracer: self.findings(tracer, found.masks.get(tracer)) for tracer in self.case.tracers}
        refinement = None
        if method.recipe.refinement:
            model = load_classifier(method.recipe.refinement)
            refinement = {"model": model.as_dict(), "removed_fdg_lesions": list(found.removed)}
        used = Resources(self.inference.plan, self.inference.windows, self.log.watch.rounded())
        return describe_run(
            self.case,
            method.recipe.as_dict(),
            method.members,
            used,
            self.log.fallbacks,
            findings,
            refinement,
            found.foci if method.recipe.second_opinion else None,  # votes are many: on request
        )

    def findings(self, tracer: Tracer, mask: NDArray[np.bool_] | None) -> Findings:
        """What a mask on the crop of a tracer's space holds; None: nothing was found."""
        threshold_suv = self.case.thresholds[tracer]
        space = self.prepared.spaces.get(tracer)
        if space is None or mask is None or not mask.any():
            return Findings(threshold_suv)
        pet, voxel_volume_ml = space.pet[tracer], space.geometry.voxel_volume_ml
        if self.prepared.is_tilted(tracer):  # figures are of the voxels that the mask is written on
            pet, mask = self.case.study(tracer).read_pet().voxels, self.prepared.on_pet(tracer, mask).voxels > 0
            voxel_volume_ml = self.prepared.grid(tracer).voxel_volume_ml
            if not mask.any():
                return Findings(threshold_suv)
        suv = pet[mask]
        around = Box.around_mask(mask) or Box.whole(mask.shape)
        lesions, components = components_of(mask[around.slices])
        numbers = lesions[mask[around.slices]]
        return Findings(
            threshold_suv,
            round(float(mask.sum()) * voxel_volume_ml, 3),
            components,
            round(float(suv.max()), 3),
            round(float(suv.mean(dtype=np.float64)), 3),
            rethresholded_ml(suv, numbers, voxel_volume_ml, threshold_suv, self._liver_threshold_suv(tracer, space)),
        )

    def _liver_threshold_suv(self, tracer: Tracer, space: Space) -> float | None:
        """Mean + 2 SD of the liver's core, where a recipe has read the organ map and the crop holds enough liver."""
        organs = self.prepared.organs_if_read(tracer)
        if organs is None:
            return None
        liver = liver_uptake(Volume(space.pet[tracer], space.geometry), organs)
        return None if liver is None else liver.threshold_suv


def _unique_members(methods: Sequence[Method]) -> list[Member]:
    by_name: dict[str, Member] = {}
    for member in (member for method in methods for member in method.members):
        if by_name.setdefault(member.name, member) != member:
            raise ConfigurationError("recipes", f"two members named {member.name}", "rename one of them")
    return list(by_name.values())


def _one_overlap(methods: Sequence[Method]) -> float:
    overlaps = {method.recipe.window_overlap for method in methods}
    if len(overlaps) != 1:
        raise ConfigurationError("recipes", f"window overlaps {sorted(overlaps)}", "choose recipes of one overlap")
    return overlaps.pop()
