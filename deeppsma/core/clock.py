"""How long there is: durations as people write them, and how long this container has been running."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def duration_s(text: str) -> float | None:
    """Seconds of a duration such as "25m", "90s" or "1.5h"; None for "none".

    Raises
    ------
    ValueError
        If it is no duration, or not positive.
    """
    if text == "none":
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    if seconds <= 0:
        raise ValueError(f"{text!r} is no duration: give 25m, 90s, 1.5h, or none")
    return seconds


def container_age_s(root: Path = Path("/proc")) -> float:
    """Seconds since this container's first process started; since this process did where that cannot be read.

    The platform counts from there: downloading a model is in it.
    """
    now_s, ticks_per_s = time.clock_gettime(time.CLOCK_BOOTTIME), os.sysconf("SC_CLK_TCK")
    for process in ("1", "self"):
        try:
            text = (root / process / "stat").read_text(encoding="utf-8", errors="replace")
            # The program's name, in brackets, may hold anything; field 22 counts from behind it.
            return max(0.0, now_s - int(text.rpartition(")")[2].split()[19]) / ticks_per_s)
        except (OSError, ValueError, IndexError):
            continue
    return 0.0
