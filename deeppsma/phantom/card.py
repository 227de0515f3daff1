"""A patient's card: all that was drawn for him, for people and for checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from deeppsma.core.tracer import Tracer
from deeppsma.phantom.anatomy.physique import Physique
from deeppsma.phantom.session import PhantomOptions, Session
from deeppsma.phantom.uptake.focus import Focus


def made_with(options: PhantomOptions) -> dict[str, Any]:
    """What else than the seed a patient depends on."""
    values = asdict(options)
    enrich = list(values.pop("enrich"))
    return {"phantom": values.pop("version"), **values, **({"enrich": enrich} if enrich else {})}


def patient_card(
    seed: int,
    options: PhantomOptions,
    physique: Physique,
    sessions: Mapping[Tracer, Session],
    foci: Sequence[Focus],
    enriched: Sequence[str] = (),
) -> dict[str, Any]:
    """The card, ready for JSON.

    Volumes in ml; ``suv`` in the tissue, before the scanner blurs it;
    ``imaged_suv`` and ``disease_*`` as imaged; ``enriched`` only in an
    enriched cohort: what this patient has more of.
    """
    more = {"enriched": list(enriched)} if options.enrich else {}
    return {
        "synthetic": True,
        "seed": seed,
        "made_with": made_with(options),
        **more,
        "anatomy": {**_rounded(asdict(physique)), "weight_kg": round(physique.weight_kg, 1)},
        "sessions": {tracer.value: _session(session) for tracer, session in sessions.items()},
        "lesions": [_focus(focus) for focus in foci if focus.disease],
        "pitfalls": [_focus(focus) for focus in foci if not focus.disease],
    }


def _session(session: Session) -> dict[str, Any]:
    pet, day = session.pet, session.visit.day
    values = pet.suv[pet.truth]
    return {
        "radioligand": session.visit.ligand.name,
        "scanner": session.visit.scanner.name,
        "furosemide": day.furosemide,
        "fdg_heart": day.heart,
        "metformin": day.metformin,
        "active_marrow": round(day.active_marrow, 2),
        "breathing_mm": round(session.breathing.depth_mm, 1),
        "breath_at_ct_mm": round(session.breathing.ct_depth_mm, 1),
        "contrast_agent": session.ct_options.contrast,
        "organ_map_errors": list(session.organ_errors),
        "threshold_suv": pet.threshold_suv,
        "disease_ml": round(float(pet.truth.sum()) * pet.geometry.voxel_volume_ml, 2),
        "disease_suv_max": round(float(values.max()), 2) if values.size else 0.0,
        "disease_suv_mean": round(float(values.mean()), 2) if values.size else 0.0,
        "imaged_suv": {tissue: {"mean": mean, "max": most} for tissue, (mean, most) in session.imaged_suv.items()},
    }


def _focus(focus: Focus) -> dict[str, Any]:
    return {
        "kind": focus.kind,
        "site": focus.site,
        "volume_ml": round(focus.volume_ml, 2),
        "suv": {tracer.value: round(value, 2) for tracer, value in focus.suv.items()},
    }


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {key: round(value, 2) if isinstance(value, float) else value for key, value in values.items()}
