"""Statistics of values by group, all groups at once: counts, means, quantiles."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


class Groups:
    """Values that belong to groups 0 to n - 1.

    Parameters
    ----------
    number
        [values] group of each value.
    count
        How many groups there are, empty ones too.
    """

    def __init__(self, number: NDArray[np.integer], count: int) -> None:
        self.number = number
        self.count = count
        self.sizes = np.bincount(number, minlength=count).astype(float)

    def mean(self, values: NDArray) -> NDArray[np.float64]:
        """Mean of the values that are not NaN, by group; NaN where there is none."""
        known = ~np.isnan(values)
        if known.all():
            return _ratio(np.bincount(self.number, weights=values, minlength=self.count), self.sizes)
        sizes = np.bincount(self.number[known], minlength=self.count)
        return _ratio(np.bincount(self.number[known], weights=values[known], minlength=self.count), sizes)

    def sd(self, values: NDArray) -> NDArray[np.float64]:
        """Standard deviation as `mean`."""
        mean = self.mean(values)
        return np.sqrt(self.mean((values - mean[self.number]) ** 2))

    def max(self, values: NDArray) -> NDArray[np.float64]:
        """Largest of the values that are not NaN, by group; NaN where there is none."""
        out = np.full(self.count, -np.inf)
        np.fmax.at(out, self.number, values)
        return np.where(np.isneginf(out), np.nan, out)

    def quantiles(self, values: NDArray, shares: Sequence[float]) -> NDArray[np.float64]:
        """Values at these shares of each group's order, [share, group]; NaN where a group has none.

        The nearest of the values themselves, not interpolated; NaN are left out.
        """
        out = np.full((len(shares), self.count), np.nan)
        sorted_by_group = values[self._order]
        stops = np.cumsum(self.sizes).astype(np.intp)
        for group in np.flatnonzero(self.sizes):
            own = sorted_by_group[stops[group] - int(self.sizes[group]) : stops[group]]
            unknown = np.isnan(own)
            if unknown.any():
                own = own[~unknown]
            if len(own):
                places = [round(share * (len(own) - 1)) for share in shares]
                out[:, group] = np.partition(own, places)[places]
        return out

    @cached_property
    def _order(self) -> NDArray[np.intp]:
        """Places of the values, group by group."""
        # A stable sort of 16-bit numbers takes one pass for each byte.
        narrow = self.number.astype(np.uint16) if self.count <= 1 << 16 else self.number
        return np.argsort(narrow, kind="stable")


def _ratio(sums: NDArray, sizes: NDArray) -> NDArray[np.float64]:
    return np.divide(sums, sizes, out=np.full(len(sums), np.nan), where=sizes > 0)
