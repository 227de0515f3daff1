"""The two tracers of a case."""

from __future__ import annotations

from enum import StrEnum


class Tracer(StrEnum):
    """PSMA ligand or FDG."""

    PSMA = "psma"
    FDG = "fdg"

    @property
    def other(self) -> Tracer:
        """The tracer of the case's other session."""
        return Tracer.FDG if self is Tracer.PSMA else Tracer.PSMA

    @property
    def title(self) -> str:
        """How the tracer is written in text and in folder names of the data set."""
        return self.value.upper()
