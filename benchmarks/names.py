"""How often foci get the right name, and lesions the right class: on synthetic patients, whose true sites are known.

    python -m benchmarks.names [--cases 22] [--seed 8000] [--out names.json]

The masks are the truth, so that only names and classes are judged, not the networks. Each focus' true site is the
synthetic lesion that most of its voxels belong to. A name is right if kind, site, side (where the site has one) and
level are; a level one off counts apart. Nothing here says how names do on real scans.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.resampling import resample
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.phantom.patient import Patient, draw_patient
from deeppsma.phantom.session import PhantomOptions, Session
from deeppsma.phantom.uptake.focus import Focus, affected
from deeppsma.reporting.anatomy_names import SiteName
from deeppsma.reporting.case_result import CaseResult, TracerResult
from deeppsma.reporting.concordance import Match, concordance
from deeppsma.reporting.lesion_table import LesionTable, lesion_table

#: Height of the aorta's passage through the diaphragm, mm of the standard man: nodes of the aorta above are thoracic.
_AORTIC_HIATUS_MM = 375.0
_ANY = "*"
Truth = tuple[str, str, str]


def main() -> None:
    """Draw patients, name their foci, print and write the counts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=22)
    parser.add_argument("--seed", type=int, default=8000, help="of the first patient; 7100 to 7123 were tuned on")
    parser.add_argument("--out", type=Path, default=None, help="write the counts as JSON")
    options = parser.parse_args()
    counts: dict[str, Counter[str]] = {key: Counter() for key in ("all", "kind", "confused", "classes")}
    for number in range(options.cases):
        count_patient(draw_patient(options.seed + number, PhantomOptions(ct="none")), counts)
        print(f"seed {options.seed + number}: {_said(counts['all'])}", flush=True)
    summary = {"cases": options.cases, "seed": options.seed, **{key: dict(value) for key, value in counts.items()}}
    print(json.dumps(summary, indent=1))
    if options.out:
        options.out.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")


def count_patient(patient: Patient, counts: dict[str, Counter[str]]) -> None:
    """Add one patient's foci to the counts."""
    scans = {}
    for tracer, session in patient.sessions.items():
        pet = Volume(session.pet.suv.astype(np.float32), session.pet.geometry)
        truth = Volume(session.pet.truth.astype(np.uint8), session.pet.geometry)
        organs = Volume(session.organ_labels, session.organ_geometry)
        scans[tracer] = TracerResult(tracer, pet, session.pet.threshold_suv, truth, organs)
    case = CaseResult(f"seed {patient.seed}", scans, patient.fdg_to_psma, {}, synthetic=True)
    table = lesion_table(case)
    found = concordance(case, table)
    for tracer in Tracer:
        session = patient.sessions[tracer]
        owners = owner_of_lesions(session, table, tracer)
        for lesion in table.of(tracer):
            focus, height = owners.get(lesion.number, (None, 0.0))
            if focus is None:
                counts["all"]["without a true site"] += 1
                continue
            _count_name(true_site(focus, height), focus.kind, lesion.naming.first, lesion.naming.second, counts)
            if found is not None:
                other = focus.suv.get(tracer.other, 0.0) >= scans[tracer.other].threshold_suv
                said = found.counterparts[lesion.id].match
                judged = (
                    "both" if said is Match.CONCORDANT else "one" if said in (Match.ONLY, Match.BELOW) else "not judged"
                )
                small = "below 2 ml" if lesion.volume_ml < 2 else "2 ml or more"
                counts["classes"][f"{small}: truly {'both' if other else 'one'}, called {judged}"] += 1


def _count_name(
    truth: Truth, kind: str, first: SiteName, second: SiteName | None, counts: dict[str, Counter[str]]
) -> None:
    right_first, right_second = _same(truth, first), second is not None and _same(truth, second)
    counts["all"]["foci"] += 1
    counts["all"]["first right"] += right_first
    counts["all"]["first two right"] += right_first or right_second
    counts["all"]["first two right, level within one"] += right_first or right_second or _near(truth, first)
    counts["all"]["site right, first"] += truth[0] == first.name.removesuffix(" or its bed")
    counts["kind"][f"{kind}: foci"] += 1
    counts["kind"][f"{kind}: first two right"] += right_first or right_second
    if truth[0] != first.name.removesuffix(" or its bed"):
        counts["confused"][f"{truth[0]} called {first.name}"] += 1
    elif not right_first:
        counts["confused"][f"{truth[0]}: another side or level"] += 1


def owner_of_lesions(session: Session, table: LesionTable, tracer: Tracer) -> dict[int, tuple[Focus | None, float]]:
    """By lesion: the synthetic focus that most of its voxels belong to, and its height in the standard man."""
    visit = session.visit
    bone = visit.scene.bone()
    ids = np.zeros(visit.scene.geometry.shape_zyx, np.uint16)
    heights: dict[int, float] = {}
    for number, focus in enumerate(visit.foci, start=1):
        if not focus.disease:
            continue
        seen = []
        for shape in focus.shapes:
            box, inside = affected(visit.frame, focus, shape, bone)
            if box.size and inside.any():
                ids[box.slices][inside] = number
                seen.append(float(visit.frame.z[box.slices][inside].mean()))
        heights[number] = float(np.mean(seen)) if seen else 0.0
    grid = session.pet.geometry
    on_pet: NDArray[Any] = resample(Volume(ids, visit.scene.geometry), grid, session.patient_from_scanner, labels=True)
    foci = table.maps[tracer]
    inside = on_pet[foci.box.slices]
    owners: dict[int, tuple[Focus | None, float]] = {}
    for lesion in table.of(tracer):
        mine = inside[foci.labels == lesion.number]
        mine = mine[mine > 0]
        if len(mine):
            number = int(np.bincount(mine).argmax())
            owners[lesion.number] = (visit.foci[number - 1], heights[number])
    return owners


def true_site(focus: Focus, height_mm: float) -> Truth:
    """What a reader would call a synthetic focus: site, side, level; "*" where the site has no side of its own."""
    site, kind = focus.site, focus.kind
    words = site.split("_")
    side = next((w for w in words if w in ("left", "right")), "")
    base = "_".join(w for w in words if w not in ("left", "right"))
    if kind in ("bone", "marrow"):
        if base.startswith("vertebra"):
            return "vertebra", "", base.split("_")[1]
        if base.startswith("rib"):
            return "rib", side, base.split("_")[1]
        return ("hip bone" if base == "hip" else base), (side or (_ANY if base == "sacrum" else "")), ""
    if kind == "node":
        return _true_station(base, side, height_mm)
    if kind == "local":
        return ("bladder or its wall" if site == "bladder wall" else "prostate"), "", ""
    named = {"adrenal": "adrenal gland", "inner_fat": "bowel or peritoneum"}
    return ("lung" if base.startswith("lung") else named.get(base, base)), side, ""


def _true_station(base: str, side: str, height_mm: float) -> Truth:
    if base.startswith("iliac"):
        return "iliac", side, ""
    if base == "subclavian":
        return "supraclavicular", side, ""
    if base == "rectum":
        return "mesorectal or presacral", _ANY, ""
    abdominal = base in ("inferior_vena_cava", "renal_pelvis") or (base == "aorta" and height_mm <= _AORTIC_HIATUS_MM)
    return ("retroperitoneal" if abdominal else "mediastinal"), _ANY, ""


def _same(truth: Truth, name: SiteName) -> bool:
    # Without a prostate in the map nobody can say whether it was removed: "prostate or its bed" is right for both.
    site = name.name.removesuffix(" or its bed")
    return truth[0] == site and truth[1] in (_ANY, name.side) and truth[2] == name.level


def _near(truth: Truth, name: SiteName) -> bool:
    """Whether only the level is wrong, by one."""
    from deeppsma.core.anatomy import VERTEBRA_NAMES

    if truth[0] != name.name or truth[1] not in (_ANY, name.side) or not truth[2]:
        return False
    order = list(VERTEBRA_NAMES) if truth[0] == "vertebra" else [str(i) for i in range(1, 13)]
    return abs(order.index(truth[2]) - order.index(name.level)) <= 1


def _said(all_counts: Counter[str]) -> str:
    foci = all_counts["foci"] or 1
    return (
        f"{all_counts['foci']} foci, first right {all_counts['first right'] / foci:.1%}, "
        f"first two {all_counts['first two right'] / foci:.1%}"
    )


if __name__ == "__main__":
    main()
