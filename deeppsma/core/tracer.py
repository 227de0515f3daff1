"""The two tracers of a case."""

from __future__ import annotations

from enum import StrEnum


class Tracer(StrEnum):
    """PSMA ligand or FDG; ``upper()`` is how text and the data set's folders write it."""

    PSMA = "psma"
    FDG = "fdg"

    @property
    def other(self) -> Tracer:
        """The tracer of the case's other session."""
        return Tracer.FDG if self is Tracer.PSMA else Tracer.PSMA
