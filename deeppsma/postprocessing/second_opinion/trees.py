"""Gradient-boosted trees as plain arrays: read without executing anything, evaluated by numpy.

What LightGBM fits, node by node: at a node the value of one feature goes left
if it is at most the threshold; NaN goes where the fit sent it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DEEPEST = 64


@dataclass(frozen=True)
class Forest:
    """A sum of trees; all trees' nodes in one row of arrays.

    Parameters
    ----------
    roots
        [tree] first node of each tree.
    feature
        [node] column that a node looks at; -1 for a leaf.
    threshold
        [node] float64; a value at most this goes left.
    left, right
        [node] the nodes below; a leaf's own number for a leaf.
    nan_left
        [node] whether NaN goes left.
    value
        [node] float64: what a leaf adds, or what the foci that reached a node
        in the fit would have got there.

    Notes
    -----
    A node's children come after it, so that every walk ends.
    """

    roots: NDArray[np.int32]
    feature: NDArray[np.int32]
    threshold: NDArray[np.float64]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    nan_left: NDArray[np.bool_]
    value: NDArray[np.float64]

    def __post_init__(self) -> None:
        count = len(self.feature)
        if not len(self.roots) or any(getattr(self, each.name).ndim != 1 for each in fields(self)):
            raise ValueError("a forest needs trees, and arrays of one axis")
        if any(len(getattr(self, each.name)) != count for each in fields(self) if each.name != "roots"):
            raise ValueError("all of a forest's nodes need a feature, a threshold, children and a value")
        here = np.arange(count)
        leaf = self.feature < 0
        good = np.where(leaf, self.left == here, self.left > here) & np.where(
            leaf, self.right == here, self.right > here
        )
        if not good.all() or max(self.left.max(), self.right.max(), self.roots.max()) >= count or self.roots.min() < 0:
            raise ValueError("a forest's children must come after their nodes")
        if not (np.isfinite(self.threshold).all() and np.isfinite(self.value).all()):
            raise ValueError("a forest's thresholds and values must be finite")

    @property
    def columns(self) -> int:
        """How many features it needs at least."""
        return int(self.feature.max()) + 1

    def score(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Sum of the trees, [row], for features [row, feature]; NaN is allowed.

        Raises
        ------
        ValueError
            If there are fewer features than the forest looks at.
        """
        node = self._start(values)
        while (self.feature[node] >= 0).any():
            node = self._below(node, values)
        return np.asarray(self.value[node].sum(axis=1))

    def contributions(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """How much each feature moved the score, [row, feature]: by what its splits changed on the way to the leaf.

        The sum over features, and the roots' values, is the score.

        References
        ----------
        A. Saabas, treeinterpreter: the change of a node's mean at each split
        belongs to the feature that is split.
        """
        node = self._start(values)
        out = np.zeros(values.shape)
        rows = np.repeat(np.arange(len(values)), len(self.roots)).reshape(node.shape)
        while (self.feature[node] >= 0).any():
            below = self._below(node, values)
            inner = self.feature[node] >= 0
            change = self.value[below] - self.value[node]
            np.add.at(out, (rows[inner], self.feature[node][inner]), change[inner])
            node = below
        return out

    def _start(self, values: NDArray[np.floating]) -> NDArray[np.int32]:
        if values.ndim != 2 or values.shape[1] < self.columns:
            raise ValueError(f"features {values.shape} for a forest that looks at {self.columns}")
        return np.repeat(self.roots[None], len(values), axis=0)

    def _below(self, node: NDArray[np.int32], values: NDArray[np.floating]) -> NDArray[np.int32]:
        feature = np.maximum(self.feature[node], 0)
        seen = np.take_along_axis(values, feature, axis=1)
        goes_left = np.where(np.isnan(seen), self.nan_left[node], seen <= self.threshold[node])
        return np.where(goes_left, self.left[node], self.right[node])

    def as_arrays(self) -> dict[str, NDArray]:
        """Its arrays by name, to be written."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray]) -> Forest:
        """The forest of arrays by name.

        Raises
        ------
        ValueError
            If one is missing, or they make no forest.
        """
        kinds = {"threshold": np.float64, "value": np.float64, "nan_left": np.bool_}
        try:
            return cls(**{each.name: arrays[each.name].astype(kinds.get(each.name, np.int32)) for each in fields(cls)})
        except KeyError as error:
            raise ValueError(f"no array {error} of a forest") from None


def forest_of_lightgbm(dumped: Mapping[str, Any]) -> Forest:
    """A forest of what ``Booster.dump_model()`` gives.

    Raises
    ------
    ValueError
        If it splits in a way that this module does not know.
    """
    rows: list[tuple[int, float, int, int, bool, float]] = []
    roots = []
    for tree in dumped["tree_info"]:
        roots.append(len(rows))
        _add(tree["tree_structure"], rows, 0)
    columns = list(zip(*rows, strict=True))
    names = ("feature", "threshold", "left", "right", "nan_left", "value")
    return Forest.from_arrays(
        {"roots": np.array(roots), **{n: np.array(c) for n, c in zip(names, columns, strict=True)}}
    )


def _add(node: Mapping[str, Any], rows: list[tuple[int, float, int, int, bool, float]], depth: int) -> int:
    if depth > _DEEPEST:
        raise ValueError(f"a tree deeper than {_DEEPEST}")
    here = len(rows)
    if "split_index" not in node:
        rows.append((-1, 0.0, here, here, False, float(node["leaf_value"])))
        return here
    if node["decision_type"] != "<=" or node["missing_type"] not in ("NaN", "None"):
        raise ValueError(f"a split by {node['decision_type']!r} with missing {node['missing_type']!r}")
    threshold = float(node["threshold"])
    # Without missing values in the fit, LightGBM takes NaN for 0.
    nan_left = bool(node["default_left"]) if node["missing_type"] == "NaN" else threshold >= 0.0
    rows.append((0, 0.0, 0, 0, False, 0.0))
    left = _add(node["left_child"], rows, depth + 1)
    right = _add(node["right_child"], rows, depth + 1)
    rows[here] = (int(node["split_feature"]), threshold, left, right, nan_left, float(node["internal_value"]))
    return here


def mean_score(forests: Sequence[Forest], values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean of several forests' scores, [row]."""
    return np.asarray(np.mean([forest.score(values) for forest in forests], axis=0))
