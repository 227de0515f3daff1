"""Complete answers, the cheapest first, so that there is always one to give when time or memory runs out.

1. Threshold: every hot voxel outside kidneys, liver and bladder. Made before any network runs.
2. First members: the recipe with as few of its members as answer for every tracer; only where it has more.
3. The recipe as it is, or with as many members as fit in the time that is left.

Each lies in a folder of its own, published whole. The plan is made once, after the first members have run, from what
they took, and stands in the run report: the clock only cuts, it never adds.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.evaluation.baseline import trivial_answer
from deeppsma.inference.ensemble import NO_WINDOWS
from deeppsma.io.result_folder import output_folder, write_result
from deeppsma.models.weights import NOTICE, Member
from deeppsma.pipeline.apply_recipe import CropMasks
from deeppsma.pipeline.case_run import CaseRun
from deeppsma.pipeline.method import Method
from deeppsma.pipeline.run_report import Resources, describe_run

#: Folders of the answers, from the first to the best.
THRESHOLD, FIRST_MEMBERS, FULL = "1-threshold", "2-first-members", "3-full"
ANSWERS = (THRESHOLD, FIRST_MEMBERS, FULL)
#: A step is begun only if so many times what it is expected to take is left.
PRUDENCE = 1.5


@dataclass
class Steps:
    """Publishes early answers of a case that is being run; given to `deeppsma.pipeline.segment.segment`.

    Parameters
    ----------
    folder
        Where answers lie, each in a folder of its own.
    until
        When the last one must be there, on the clock of `time.monotonic`.
    lacking
        What the full answer alone will have beside its masks, as a line for early answers' run reports; or empty.
    """

    folder: Path
    until: float
    lacking: str = ""
    plan: dict[str, Any] = field(default_factory=dict)

    def __call__(self, run: CaseRun, method: Method) -> Method:
        """Publish what can be had before the full answer; gives the method that there is time for."""
        self._publish_threshold(run)
        first = first_members(method)
        self.plan = {"left_s": round(self.until - time.monotonic(), 1), "members": [m.name for m in method.members]}
        if len(first) < len(method.members):
            began = time.monotonic()
            run.infer(first)
            each_s = (time.monotonic() - began) / len(first)
            part = replace(method, members=first)
            dropped = [member.name for member in method.members if member not in first]
            self._publish(run, part, FIRST_MEMBERS, f"first answer: members {', '.join(dropped)} have not run yet")
            method = self._that_fit(run, method, first, each_s)
        return method

    def _that_fit(self, run: CaseRun, method: Method, first: Sequence[Member], each_s: float) -> Method:
        rest = [member for member in method.members if member not in first]
        left_s = self.until - time.monotonic()
        fit = max(0, min(len(rest), int(left_s / (PRUDENCE * max(each_s, 1e-3)))))
        taken, dropped = rest[:fit], rest[fit:]
        self.plan |= {"seconds_a_member": round(each_s, 2), "dropped": [member.name for member in dropped]}
        if not dropped:
            return method
        names = ", ".join(member.name for member in dropped)
        run.log.note(f"time limit: no time for members {names} ({each_s:.1f} s each, {left_s:.0f} s left)")
        return replace(method, members=tuple(m for m in method.members if m in first or m in taken))

    def _publish_threshold(self, run: CaseRun) -> None:
        found = CropMasks({tracer: _outside_organs(run, tracer) for tracer in run.prepared.spaces})
        line = "first answer: every voxel above the threshold outside kidneys, liver and bladder; no network has run"
        report = describe_run(
            run.case,
            {"name": "threshold", "summary": line},
            (),
            Resources(None, NO_WINDOWS, run.log.watch.rounded()),
            [*run.log.fallbacks, line],
            {tracer: run.findings(tracer, found.masks.get(tracer)) for tracer in run.case.tracers},
        )
        report = replace(report, notice=f"{NOTICE} No network was run.", device="none: no network was run")
        self._write(run.on_pets(found), report.as_dict(), THRESHOLD)

    def _publish(self, run: CaseRun, method: Method, name: str, line: str) -> None:
        found = run.apply(method)
        report = run.report(method, found)
        report = replace(report, fallbacks=(*report.fallbacks, line))
        self._write(run.on_pets(found), report.as_dict(), name)

    def _write(self, masks: dict[Tracer, Volume], report: dict[str, Any], name: str) -> None:
        out = self.folder / name
        if self.lacking:
            report = {**report, "fallbacks": [*report["fallbacks"], self.lacking]}
        with output_folder(out) as staging:
            write_result(staging, out, masks, report)


def first_members(method: Method) -> tuple[Member, ...]:
    """As few members as answer for every tracer that the whole method answers for, in its order."""
    chosen: list[Member] = []
    for member in method.members:
        covered = {tracer for each in chosen for tracer in each.network.tracers}
        if set(member.network.tracers) - covered:
            chosen.append(member)
    return tuple(chosen)


def _outside_organs(run: CaseRun, tracer: Tracer) -> NDArray[np.bool_]:
    space = run.prepared.spaces[tracer]
    pet = Volume(space.pet[tracer], space.geometry)
    return trivial_answer(pet, run.case.thresholds[tracer], run.prepared.organs(tracer)) & space.hot
