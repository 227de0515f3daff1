"""About ninety numbers on every focus, by name: networks, uptake, CT, contrast, organs, place, other tracer, patient.

Uptake is in units of the threshold, as log; the CT in HU. What is not known
(no CT, no organ map, outside the other tracer's field of view) is NaN, which
the trees take as an answer of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deeppsma.core import anatomy as organs
from deeppsma.core.anatomy import FAMILY_OF_LABEL, LABEL_MAX
from deeppsma.postprocessing.second_opinion.body_frame import BodyFrame
from deeppsma.postprocessing.second_opinion.evidence import Evidence
from deeppsma.postprocessing.second_opinion.grouped import Groups
from deeppsma.postprocessing.second_opinion.surroundings import surroundings

#: Tissues of which a focus may lie in.
_TISSUES = {
    "bone": organs.ORGAN_CLASSES["bones"],
    "lung": organs.ORGAN_CLASSES["lung"],
    "gut": (organs.STOMACH, organs.OESOPHAGUS, organs.SMALL_BOWEL, organs.DUODENUM, organs.COLON),
    "urinary": (organs.KIDNEY_RIGHT, organs.KIDNEY_LEFT, organs.BLADDER),
    "liver_spleen": (organs.LIVER, organs.SPLEEN, organs.GALLBLADDER),
    "muscle": tuple(range(organs.GLUTEUS_MAXIMUS_LEFT, organs.ILIOPSOAS_RIGHT + 1)),
    "vessel": (organs.AORTA, *range(organs.PULMONARY_VEIN, organs.ILIAC_VEIN_RIGHT + 1)),
    "no_organ": (0,),
}
#: Tissues whose level says what this patient takes up as a whole.
_LEVELS = {
    "liver": (organs.LIVER,),
    "spleen": (organs.SPLEEN,),
    "blood": (organs.AORTA,),
    "spine": (organs.SACRUM, *organs.VERTEBRAE),
    "hips": (organs.HIP_LEFT, organs.HIP_RIGHT),
    "lung": organs.ORGAN_CLASSES["lung"],
    "colon": (organs.COLON,),
    "muscle": _TISSUES["muscle"],
}
_QUANTILES = (0.1, 0.5, 0.9)
#: Logits are clipped here: beyond it a network has no more to say.
LOGIT_LIMIT = 12.0
_TINY = 0.02
#: Dense lung: neither air-filled nor soft tissue.
_AERATED_HU, _DENSE_HU, _BONE_HU = -500.0, -100.0, 200.0


@dataclass(frozen=True)
class FeatureTable:
    """Features of foci.

    Parameters
    ----------
    names
        Of the columns; what comes before the first dot is the group.
    values
        [focus, feature] float32; NaN where something is not known.
    """

    names: tuple[str, ...]
    values: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] != len(self.names):
            raise ValueError(f"{len(self.names)} names for features {self.values.shape}")

    def column(self, name: str) -> NDArray[np.float32]:
        """One feature, [focus]."""
        return self.values[:, self.names.index(name)]


def describe(evidence: Evidence, piece: NDArray[np.integer]) -> FeatureTable:
    """Features of every focus.

    Parameters
    ----------
    evidence
        Of one tracer.
    piece
        [n] focus of each hot voxel, from 0 without gaps; see
        `deeppsma.postprocessing.second_opinion.pieces.pieces`.

    Raises
    ------
    ValueError
        If there is not one number for each hot voxel.
    """
    if piece.shape != evidence.own.shape:
        raise ValueError(f"{piece.shape} numbers of foci for {evidence.own.shape} hot voxels")
    groups = Groups(piece, int(piece.max()) + 1 if len(piece) else 0)
    columns: dict[str, NDArray] = {}
    columns |= _network(evidence, groups)
    columns |= _members(evidence, groups)
    columns |= _uptake(evidence, groups)
    columns |= _other_tracer(evidence, groups)
    columns |= _ct(evidence, groups)
    columns |= _organs(evidence, groups)
    columns |= _place(evidence, groups)
    columns |= _around(evidence, groups)
    columns |= {f"patient.{k}": np.full(groups.count, value) for k, value in _patient(evidence, groups).items()}
    values = np.stack([np.asarray(each, dtype=np.float32) for each in columns.values()], axis=1)
    return FeatureTable(tuple(columns), values)


def _network(evidence: Evidence, groups: Groups) -> dict[str, NDArray]:
    out: dict[str, NDArray] = {}
    views = {"own": evidence.own, "other": evidence.other, "mean": evidence.mean}
    for view, logits in views.items():
        clipped = np.clip(logits, -LOGIT_LIMIT, LOGIT_LIMIT)
        low, middle, high = groups.quantiles(clipped, _QUANTILES)
        out |= {f"network.{view}_q10": low, f"network.{view}_q50": middle, f"network.{view}_q90": high}
        out[f"network.{view}_probability"] = groups.mean(1 / (1 + np.exp(-clipped)))
        out[f"network.{view}_share"] = groups.mean(np.where(np.isnan(logits), np.nan, logits >= 0))
    apart = np.clip(evidence.own, -LOGIT_LIMIT, LOGIT_LIMIT) - np.clip(evidence.other, -LOGIT_LIMIT, LOGIT_LIMIT)
    out["network.apart"] = groups.mean(apart)
    out["network.apart_size"] = groups.mean(np.abs(apart))
    out["network.seen_by_other"] = groups.mean((~np.isnan(evidence.other)).astype(float))
    return out


def _members(evidence: Evidence, groups: Groups) -> dict[str, NDArray]:
    """What each network says where several answer: one that has seen other patients errs elsewhere."""
    if not evidence.members:
        return {}
    clipped = [np.clip(logits, -LOGIT_LIMIT, LOGIT_LIMIT) for logits in evidence.members]
    out = {f"members.{number}_logit": groups.mean(logits) for number, logits in enumerate(clipped, 1)}
    for number, logits in enumerate(clipped, 1):
        out[f"members.{number}_probability"] = groups.mean(1 / (1 + np.exp(-logits)))
    out["members.apart"] = groups.mean(np.max(clipped, axis=0) - np.min(clipped, axis=0))
    return out


def _uptake(evidence: Evidence, groups: Groups) -> dict[str, NDArray]:
    ratio = evidence.suv[evidence.hot].astype(float) / evidence.threshold_suv
    middle, high = groups.quantiles(ratio, (0.5, 0.9))
    mean, most = groups.mean(ratio), groups.max(ratio)
    voxel_ml = float(np.prod(evidence.spacing_zyx)) / 1000
    return {
        "suv.log_median": _log(middle),
        "suv.log_q90": _log(high),
        "suv.log_max": _log(most),
        "suv.log_mean": _log(mean),
        "suv.variation": groups.sd(ratio) / mean,
        "suv.log_max_over_median": _log(most / middle),
        "suv.log_volume_ml": np.log(groups.sizes * voxel_ml),
    }


def _other_tracer(evidence: Evidence, groups: Groups) -> dict[str, NDArray]:
    # 0 lies outside the other tracer's field of view.
    suv = evidence.other_suv[evidence.hot].astype(float)
    ratio = np.where(suv > 0, suv / evidence.other_threshold_suv, np.nan)
    answer = np.clip(evidence.other_tracer, -LOGIT_LIMIT, LOGIT_LIMIT)
    probability = np.where(np.isnan(answer), 0.0, 1 / (1 + np.exp(-answer)))
    return {
        "other_tracer.log_mean": _log(groups.mean(ratio)),
        "other_tracer.log_max": _log(groups.max(ratio)),
        "other_tracer.hot_share": groups.mean(np.where(np.isnan(ratio), np.nan, ratio >= 1)),
        "other_tracer.probability": groups.mean(probability),
        "other_tracer.probability_max": groups.max(probability),
    }


def _ct(evidence: Evidence, groups: Groups) -> dict[str, NDArray]:
    names = ("mean", "sd", "q10", "q50", "q90")
    if evidence.hounsfield is None:
        return {f"ct.{name}": np.full(groups.count, np.nan) for name in names}
    hu = np.clip(evidence.hounsfield[evidence.hot].astype(float), -1024, 3071)
    values = (groups.mean(hu), groups.sd(hu), *groups.quantiles(hu, _QUANTILES))
    return {f"ct.{name}": value for name, value in zip(names, values, strict=True)}


def _organs(evidence: Evidence, groups: Groups) -> dict[str, NDArray]:
    names = [*(f"organ.{tissue}" for tissue in _TISSUES)]
    contrasts = ["contrast.mean", "contrast.max", "contrast.level", "contrast.hot_share", "contrast.spread"]
    if evidence.labels is None:
        return {name: np.full(groups.count, np.nan) for name in (*names, *contrasts)}
    labels = evidence.labels[evidence.hot]
    out: dict[str, NDArray] = {}
    for name, members in zip(names, _TISSUES.values(), strict=True):
        of_label = np.zeros(LABEL_MAX + 1)
        of_label[list(members)] = 1
        out[name] = groups.mean(of_label[labels])
    kinds = _kinds(evidence)
    family = FAMILY_OF_LABEL[labels]
    log_ratio = _log(evidence.suv[evidence.hot] / evidence.threshold_suv)
    against = log_ratio - kinds[0][family]
    values = (groups.mean(against), groups.max(against), *(groups.mean(kind[family]) for kind in kinds))
    return out | dict(zip(contrasts, values, strict=True))


def _place(evidence: Evidence, groups: Groups) -> dict[str, NDArray]:
    """Where in the body: glands of the head look like disease of an unnamed place."""
    names = ("place.height", "place.lateral", "place.front")
    frame = _frame(evidence)
    if frame is None:
        return {name: np.full(groups.count, np.nan) for name in names}
    height, left, front = frame.places(np.argwhere(evidence.hot) * np.array(evidence.spacing_zyx)).T
    # Disease takes no side.
    values = (height, np.abs(left), front)
    return {name: groups.mean(value) for name, value in zip(names, values, strict=True)}


def _frame(evidence: Evidence) -> BodyFrame | None:
    if evidence.labels is not None:
        return BodyFrame.of(evidence.labels, evidence.spacing_zyx)
    return None if evidence.hounsfield is None else BodyFrame.of_ct(evidence.hounsfield, evidence.spacing_zyx)


def _kinds(evidence: Evidence) -> NDArray[np.float64]:
    """Of each kind of organ, by its first label: log median over threshold, hot share, log q90 over median."""
    assert evidence.labels is not None  # noqa: S101 - asked only with a map
    inside = (evidence.labels > 0) & (evidence.suv > 0)
    family = FAMILY_OF_LABEL[evidence.labels[inside]]
    ratio = evidence.suv[inside].astype(float) / evidence.threshold_suv
    kinds = Groups(family, LABEL_MAX + 1)
    middle, high = kinds.quantiles(ratio, (0.5, 0.9))
    return np.stack([_log(middle), kinds.mean((ratio >= 1).astype(float)), _log(high / middle)])


def _around(evidence: Evidence, groups: Groups) -> dict[str, NDArray]:
    """Of what surrounds a focus at 4 and 9 mm: uptake, and the CT."""
    out: dict[str, NDArray] = {}
    for radius_mm in (4.0, 9.0):
        focus, flat = surroundings(evidence.hot, groups.number, evidence.spacing_zyx, radius_mm)
        here = Groups(focus, groups.count)
        at = f"around.{radius_mm:g}mm"
        ratio = evidence.suv.reshape(-1)[flat].astype(float) / evidence.threshold_suv
        out[f"{at}_log_mean"] = _log(here.mean(ratio))
        out[f"{at}_hot_share"] = here.mean((ratio >= 1).astype(float))
        out[f"{at}_log_max"] = _log(here.max(ratio))
        if evidence.hounsfield is None:
            out |= {
                f"ct.{radius_mm:g}mm_{n}": np.full(groups.count, np.nan) for n in ("mean", "sd", "air", "dense", "bone")
            }
            continue
        hu = np.clip(evidence.hounsfield.reshape(-1)[flat].astype(float), -1024, 3071)
        out[f"ct.{radius_mm:g}mm_mean"] = here.mean(hu)
        out[f"ct.{radius_mm:g}mm_sd"] = here.sd(hu)
        out[f"ct.{radius_mm:g}mm_air"] = here.mean((hu < _AERATED_HU).astype(float))
        out[f"ct.{radius_mm:g}mm_dense"] = here.mean(((hu >= _AERATED_HU) & (hu < _DENSE_HU)).astype(float))
        out[f"ct.{radius_mm:g}mm_bone"] = here.mean((hu > _BONE_HU).astype(float))
    return out


def _patient(evidence: Evidence, groups: Groups) -> dict[str, float]:
    voxel_ml = float(np.prod(evidence.spacing_zyx)) / 1000
    out = {
        "log_threshold": float(np.log(evidence.threshold_suv)),
        "log_hot_ml": float(np.log(max(len(groups.number) * voxel_ml, 0.01))),
        "log_found_ml": float(np.log(max(int((evidence.mean >= 0).sum()) * voxel_ml, 0.01))),
        "log_other_found_ml": float(np.log(max(int((evidence.other_tracer >= 0).sum()) * voxel_ml, 0.01))),
        "log_foci": float(np.log(max(groups.count, 1))),
        "log_found_mean": _found_mean(evidence),
    }
    levels = _levels(evidence)
    for name, (middle, spread) in levels.items():
        out[f"log_{name}"] = middle
        if name in ("liver", "spine", "lung"):
            out[f"{name}_spread"] = spread
    out["log_spine_over_liver"] = levels["spine"][0] - levels["liver"][0]
    return out


def _found_mean(evidence: Evidence) -> float:
    """Log of the mean uptake over threshold of what the network finds; NaN where it finds nothing."""
    found = evidence.suv[evidence.hot][evidence.mean >= 0]
    return float(np.log(found.mean(dtype=np.float64) / evidence.threshold_suv)) if found.size else float("nan")


def _levels(evidence: Evidence) -> dict[str, tuple[float, float]]:
    """By tissue: log median over threshold, and log q75 over q25; NaN where it is not seen, or nothing is labelled."""
    if evidence.labels is None:
        return dict.fromkeys(_LEVELS, (float("nan"), float("nan")))
    of_label = np.zeros(LABEL_MAX + 1, dtype=np.int64)
    for number, members in enumerate(_LEVELS.values(), start=1):
        of_label[list(members)] = number
    tissue = of_label[evidence.labels]
    inside = (tissue > 0) & (evidence.suv > 0)
    groups = Groups(tissue[inside], len(_LEVELS) + 1)
    low, middle, high = groups.quantiles(evidence.suv[inside].astype(float) / evidence.threshold_suv, (0.25, 0.5, 0.75))
    return {
        name: (float(_log(middle[number])), float(_log(high[number] / max(low[number], _TINY))))
        for number, name in enumerate(_LEVELS, start=1)
    }


def _log(values: NDArray | float) -> NDArray:
    return np.log(np.maximum(values, _TINY))
