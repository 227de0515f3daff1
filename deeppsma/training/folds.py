"""Which cases a fold trains on and which it holds out: fixed, in a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deeppsma.core.errors import InputError
from deeppsma.core.settings import read_json, write_json


@dataclass(frozen=True)
class Folds:
    """Cases held out by each fold.

    Parameters
    ----------
    held_out
        Names; each case is held out once.
    """

    held_out: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        names = self.names
        if len(self.held_out) < 2 or not all(self.held_out):
            raise ValueError("two folds or more are needed, and none may be empty")
        if len(set(names)) != len(names):
            raise ValueError("a case is held out twice")

    @classmethod
    def draw(cls, names: Sequence[str], count: int = 5, seed: int = 0) -> Folds:
        """Folds of nearly equal size; the same names and seed give the same folds."""
        shuffled = np.random.default_rng(seed).permutation(sorted(names)).tolist()
        return cls(tuple(tuple(sorted(shuffled[k::count])) for k in range(count)))

    @classmethod
    def read(cls, path: Path) -> Folds:
        """Folds of a file that `write` made.

        Raises
        ------
        InputError
            If it is no such file.
        """
        content = read_json(path, "remove it, and folds are drawn anew")
        try:
            return cls(tuple(tuple(str(name) for name in fold) for fold in content["held_out"]))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(path, f"no folds ({error})", "remove it, and folds are drawn anew") from None

    def write(self, path: Path) -> None:
        """Keep the folds."""
        write_json(path, {"held_out": self.held_out})

    @property
    def names(self) -> list[str]:
        """All cases."""
        return sorted(name for fold in self.held_out for name in fold)

    def trained_on(self, fold: int) -> list[str]:
        """Cases that a fold trains on.

        Raises
        ------
        ValueError
            If there is no such fold.
        """
        if not 0 <= fold < len(self.held_out):
            raise ValueError(f"folds are 0 to {len(self.held_out) - 1}, not {fold}")
        return sorted(name for k, names in enumerate(self.held_out) if k != fold for name in names)
