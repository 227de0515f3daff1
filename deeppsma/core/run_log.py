"""What a run gathers for its report: timings, and everything that did not go as planned."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from deeppsma.core.stopwatch import Stopwatch

_LOGGER = logging.getLogger("deeppsma")


@dataclass
class RunLog:
    """Timings and fallbacks of one run.

    Parameters
    ----------
    watch
        Stage timings.
    fallbacks
        Everything that did not go as planned, a line each, in order; use
        `note` to add one.
    case
        Whose run it is; named where lines are logged.
    """

    watch: Stopwatch = field(default_factory=Stopwatch)
    fallbacks: list[str] = field(default_factory=list)
    case: str = ""

    def note(self, line: str) -> None:
        """Add a fallback, once, and tell whoever listens to the logger ``deeppsma``."""
        if line not in self.fallbacks:
            self.fallbacks.append(line)
            _LOGGER.warning("%s%s", f"{self.case}: " if self.case else "", line)
