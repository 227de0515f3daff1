"""What weights have seen, in fewer words: for terminals and logs. Cards and results have the whole."""

from __future__ import annotations

import re

_GOING_ON = re.compile(r", going on from [^(),;]+ $")
_SEEDS = re.compile(r"\bseeds?\b|\bphantom version\b")
_REAL = re.compile(r"(?<!no )\breal\b")


def shortened(text: str) -> str:
    """What is left without brackets that number synthetic patients' seeds, and without what the start went on from.

    Nothing else is cut: a bracket that names real patients stays, and so does whatever is not known to be synthetic.

    Parameters
    ----------
    text
        As of `deeppsma.models.weights.Member.trained_on`, or several in a sentence.
    """
    return _without_seeds(text, whole_start=True)


def _without_seeds(text: str, whole_start: bool) -> str:
    opening = text.find("(")
    closing = _closing(text, opening)
    if opening < 0 or closing < 0:
        return text
    before, inner = text[:opening], text[opening + 1 : closing]
    after = _without_seeds(text[closing + 1 :], whole_start)
    synthetic = _REAL.search(inner) is None
    if (goes_on := _GOING_ON.search(before)) is not None:
        if whole_start or not synthetic or "synthetic" not in inner:
            return f"{before}({_without_seeds(inner, whole_start=False)}){after}"
        return f"{before[: goes_on.start()]}, and what those went on from{after}"
    if synthetic and _SEEDS.search(inner) is not None:
        return before.rstrip() + after
    return f"{before}({inner}){after}"


def _closing(text: str, opening: int) -> int:
    """Where the bracket that opens there is closed; -1 if it is not."""
    depth = 0
    for place in range(max(opening, 0), len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return place if opening >= 0 else -1
    return -1
