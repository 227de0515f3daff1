"""Fit a second opinion, and what cross-validation over patients says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.errors import ConfigurationError, InputError
from deeppsma.core.tracer import Tracer
from deeppsma.postprocessing.second_opinion.basins import Neighbours
from deeppsma.postprocessing.second_opinion.decide import Role, judged
from deeppsma.postprocessing.second_opinion.trees import Forest, forest_of_lightgbm, mean_score
from deeppsma.training.focus_samples import FocusSample

#: One forest of many shallow trees and one of fewer deep ones, averaged: they err in different places.
FORESTS: tuple[Mapping[str, Any], ...] = (
    {"num_leaves": 6, "max_depth": 3, "learning_rate": 0.06, "rounds": 250},
    {"num_leaves": 20, "max_depth": 7, "learning_rate": 0.04, "rounds": 180},
)
#: What the networks say of a focus. Each forest is fitted twice, with these groups of features and without: a witness
#: who has not heard the networks contradicts them where they err in a way that no patient here has shown.
NETWORKS_SAY = ("network", "members")
_COMMON: Mapping[str, Any] = {
    "objective": "binary",
    "min_data_in_leaf": 15,
    "lambda_l2": 2.0,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbose": -1,
}
#: Offsets that are tried.
OFFSETS = tuple(np.round(np.arange(-1.0, 4.01, 0.25), 2).tolist())
#: Weights of the network within a focus that are tried with each.
WITHIN = (0.0, 0.5)
#: Mean DSC that tells nothing: what is apart by no more is as good as each other.
_AS_GOOD = 0.002
#: Fewer foci of either kind, or patients than folds, say nothing.
_LEAST_FOCI = 30

#: Samples by case, of one tracer.
Samples = Mapping[str, FocusSample]


@dataclass(frozen=True)
class CaseFigures:
    """What a mask of one case is worth.

    Parameters
    ----------
    dsc
        1 where both masks are empty.
    fpv_ml, fnv_ml
        Volume of found components that touch no truth, and of lesions that
        nothing touches.
    lesions, found
        Lesions, and those that the mask touches.
    """

    dsc: float
    fpv_ml: float
    fnv_ml: float
    lesions: int
    found: int


def fit_forests(
    samples: Sequence[FocusSample], columns: NDArray[np.intp], seed: int, witness: bool = True
) -> tuple[Forest, ...]:
    """Fit the forests to some patients.

    Parameters
    ----------
    samples
        Of the patients.
    columns
        Features that are looked at; the forests number them from 0.
    seed
        Of what is drawn; the same seed gives the same forests.
    witness
        Whether half of the forests is fitted without `NETWORKS_SAY`.

    Returns
    -------
    tuple
        The forests that have heard the networks, then, with a witness, as
        many that have not.

    Raises
    ------
    ConfigurationError
        If LightGBM is not installed.
    InputError
        If there are too few foci of either kind.

    Notes
    -----
    A focus counts by the square root of the volume in doubt: half a focus of
    disease teaches nothing, and a large one more than a small one, but not as
    much more as it is larger.
    """
    try:
        import lightgbm
    except ImportError:
        raise ConfigurationError("lightgbm", "not installed", "run ./setup.sh train") from None
    values = np.concatenate([sample.features for sample in samples])[:, columns]
    share = np.concatenate([sample.share for sample in samples])
    in_doubt_ml = np.concatenate([sample.focus_ml for sample in samples]) * np.abs(2 * share - 1)
    disease = share > 0.5
    if min(disease.sum(), (~disease).sum()) < _LEAST_FOCI:
        found = f"{int(disease.sum())} foci are disease, {int((~disease).sum())} are not"
        raise InputError("cohort", found, f"give one with {_LEAST_FOCI} of each")
    tables = [values]
    if witness:
        heard = np.isin(columns, columns_of(samples[0].names.tolist(), only=NETWORKS_SAY))
        tables.append(np.where(heard, np.float32(np.nan), values))
    forests = []
    for number, (table, settings) in enumerate(product(tables, FORESTS)):
        chosen = {**_COMMON, **{k: v for k, v in settings.items() if k != "rounds"}, "seed": 10 * seed + number}
        data = lightgbm.Dataset(table, disease.astype(int), weight=np.sqrt(in_doubt_ml))
        booster = lightgbm.train(chosen, data, int(settings["rounds"]))
        forests.append(forest_of_lightgbm(booster.dump_model()))
    return tuple(forests)


def cross_validated(
    samples: Samples,
    held_out: Sequence[Sequence[str]],
    columns: NDArray[np.intp],
    seed: int = 0,
    witness: bool = True,
) -> dict[str, NDArray[np.float64]]:
    """Logits of each case's foci, [focus], from forests that have not seen the patient.

    Parameters
    ----------
    samples
        By case.
    held_out
        Cases of each fold; cases without a sample are passed over.
    columns, seed, witness
        As for `fit_forests`.
    """
    out: dict[str, NDArray[np.float64]] = {}
    for fold in held_out:
        forests = fit_forests([s for name, s in samples.items() if name not in fold], columns, seed, witness)
        for name in fold:
            if name in samples:
                out[name] = mean_score(forests, samples[name].features[:, columns])
    return out


def decided(
    sample: FocusSample,
    logit: NDArray[np.floating],
    offset: float,
    role: Role = Role.DECIDES,
    within: float = 0.0,
) -> NDArray[np.bool_]:
    """The mask, [n] of the hot voxels, of a case's foci and their logits."""
    return judged(sample.network, sample.piece, logit, offset, role, found=sample.found, within=within)


def figures(sample: FocusSample, mask: NDArray[np.bool_], neighbours: Neighbours | None = None) -> CaseFigures:
    """What a mask of a case's hot voxels is worth.

    Parameters
    ----------
    sample
        The case.
    mask
        [n].
    neighbours
        Of the hot voxels; without them FPV is not measured, NaN.
    """
    voxel_ml = float(sample.voxel_ml)
    total_ml = (int(mask.sum()) + int(sample.truth.sum())) * voxel_ml + float(sample.outside_ml)
    dsc = 2 * int((mask & sample.truth).sum()) * voxel_ml / total_ml if total_ml else 1.0
    lesions = int(sample.lesion.max(initial=-1)) + 1
    touched = np.zeros(lesions, dtype=bool)
    touched[sample.lesion[mask & sample.truth]] = True
    sizes = np.bincount(sample.lesion[sample.truth], minlength=lesions)
    fpv = float("nan")
    if neighbours is not None:
        component = neighbours.components(mask.astype(np.int8))
        true = np.zeros(int(component.max(initial=-1)) + 1, dtype=bool)
        true[component[mask & sample.truth]] = True
        fpv = float((mask & ~true[component]).sum()) * voxel_ml
    return CaseFigures(dsc, fpv, float(sizes[~touched].sum()) * voxel_ml, lesions, int(touched.sum()))


@dataclass(frozen=True)
class OffsetRow:
    """What an offset, and the network's weight within a focus, give: mean DSC, lesions found, mean FNV in ml."""

    offset: float
    dsc: float
    found: int
    fnv_ml: float
    within: float = 0.0


def try_offsets(
    samples: Samples, logits: Mapping[str, NDArray[np.float64]], role: Role = Role.DECIDES
) -> list[OffsetRow]:
    """What each of `OFFSETS` gives, with each of `WITHIN`."""
    rows = []
    for within, offset in product(WITHIN, OFFSETS):
        each = [figures(s, decided(s, logits[name], offset, role, within)) for name, s in samples.items()]
        mean = (
            float(np.mean([f.dsc for f in each])),
            sum(f.found for f in each),
            float(np.mean([f.fnv_ml for f in each])),
        )
        rows.append(OffsetRow(offset, *mean, within))
    return rows


def choose_offset(rows: Sequence[OffsetRow], least_found: float, most_fnv_ml: float) -> OffsetRow | None:
    """The highest offset of those as good as the best that lose no more than is allowed; None if each loses more.

    The higher one spares more small lesions; what it gives up in mean DSC is
    less than another draw of patients changes. Of two weights within a focus
    with that offset the one that misses less.

    Parameters
    ----------
    rows
        From `try_offsets`.
    least_found
        Lesions that must be found.
    most_fnv_ml
        Mean FNV that must not be exceeded.
    """
    allowed = [row for row in rows if row.found >= least_found and row.fnv_ml <= most_fnv_ml]
    best = max((row.dsc for row in allowed), default=0.0)
    return max(
        (row for row in allowed if row.dsc >= best - _AS_GOOD), key=lambda row: (row.offset, -row.fnv_ml), default=None
    )


def found_by_network(samples: Samples, either: bool) -> list[CaseFigures]:
    """What the recipe alone is worth, or with whatever either space finds."""
    return [figures(s, s.either if either else s.found) for s in samples.values()]


def choose_for_role(
    samples: Samples, logits: Mapping[str, NDArray[np.float64]], role: Role, keep_lesions: float
) -> OffsetRow | None:
    """What `choose_offset` chooses under a limit on what is lost; None if each loses more.

    Parameters
    ----------
    samples, logits
        By case.
    role
        Trees that decide may lose a share of the lesions that either space
        finds, as they also find more, and 1 ml of mean FNV. Trees that can
        only lose may lose half as much, of what the network finds. For those
        that give probabilities alone: as if they decided.
    keep_lesions
        The share that must be kept.
    """
    removes = role is Role.REMOVES
    network = found_by_network(samples, either=False)
    ceiling = network if removes else found_by_network(samples, either=True)
    loss, most_ml = (0.5 * (1 - keep_lesions), 0.5) if removes else (1 - keep_lesions, 1.0)
    least_found = (1 - loss) * sum(each.found for each in ceiling)
    most_fnv_ml = float(np.mean([each.fnv_ml for each in network])) + most_ml
    tried = try_offsets(samples, logits, role if removes else Role.DECIDES)
    return choose_offset(tried, least_found, most_fnv_ml)


def columns_of(
    names: Sequence[str], without: Sequence[str] = (), only: Sequence[str] | None = None
) -> NDArray[np.intp]:
    """Columns of features by group, which is what a name begins with, up to the first dot.

    Parameters
    ----------
    names
        Of all features.
    without
        Groups to leave out.
    only
        Groups to take; None for all.
    """
    groups = [name.split(".", 1)[0] for name in names]
    return np.flatnonzero([group not in without and (only is None or group in only) for group in groups])


def of_tracer(cases: Mapping[str, Mapping[Tracer, FocusSample]], tracer: Tracer) -> dict[str, FocusSample]:
    """Samples of one tracer by case; cases without a hot voxel have none."""
    return {name: samples[tracer] for name, samples in cases.items() if tracer in samples}
