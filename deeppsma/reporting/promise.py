"""A draft of miTNM after PROMISE, each letter with its evidence, and "not assessed" where organ maps cannot tell.

The table is PROMISE's first version (Eiber et al., J Nucl Med 2018;59:469); of the second (Seifert et al., Eur Urol
2023) only the abstract could be read. A physician decides; T2 to T4 cannot be told apart here, since the organ map has
no seminal vesicles, rectum wall or sphincter.

A letter never rests on specks alone: scattered small foci, or foci of low probability, are what noise looks like, and
one of them would make a patient M1c. Such a letter is called uncertain, and says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deeppsma.core.tracer import Tracer
from deeppsma.reporting.lesion_table import Lesion, LesionTable
from deeppsma.reporting.review import UNSURE, Candidate
from deeppsma.reporting.totals import Totals
from deeppsma.reporting.words import number_ml

SOURCE = "PROMISE, first version: Eiber et al., J Nucl Med 2018;59:469"
_NOT, _NONE = "not assessed", "no focus found"
#: What each letter is about.
LETTER_WORDS = {"miT": "prostate or its bed", "miN": "pelvic nodes", "miM1a": "other nodes", "miM1b": "bone",
                "miM1c": "viscera"}  # fmt: skip
UNCERTAIN = "uncertain: small or doubtful foci only"
#: As many foci are named in a row, and as many hot foci that were not called disease.
_NAMED, _NAMED_MISSES = 6, 3


@dataclass(frozen=True)
class Letter:
    """One row of the draft.

    Parameters
    ----------
    letter
        "miT", "miN", "miM1a", ...
    draft
        "present", "miN1b", "no focus found", "not assessed".
    evidence
        Which lesions; why not.
    """

    letter: str
    draft: str
    evidence: str


def draft_mitnm(
    table: LesionTable, totals: dict[Tracer, Totals], with_organs: bool, candidates: Sequence[Candidate] = ()
) -> tuple[Letter, ...]:
    """Rows of the draft, from the PSMA lesions.

    Parameters
    ----------
    table, totals
        Of the case.
    with_organs
        Whether the PSMA session has an organ map.
    candidates
        Hot foci that were not called disease: named beside the letter that they would change.
    """
    if Tracer.PSMA not in totals:
        return (Letter("miTNM", _NOT, "no PSMA result"),)
    if not with_organs:
        return (Letter("miTNM", _NOT, "no organ map: places are unnamed"),)
    lesions = table.of(Tracer.PSMA)
    by_region = {
        region: [x for x in lesions if x.naming.first.region == region]
        for region in ("prostate", "pelvic nodes", "other nodes", "bone", "viscera", "other")
    }
    missed = [c for c in candidates if c.tracer is Tracer.PSMA]

    def row(letter: str, region: str, word: str = "present", note: str = "") -> Letter:
        mine, hot = by_region[region], [c for c in missed if c.naming.first.region == region]
        draft = _NONE if not mine else word if any(map(_firm, mine)) else UNCERTAIN
        return Letter(letter, draft, _evidence(mine, hot, note))

    pelvic, bone = by_region["pelvic nodes"], by_region["bone"]
    rows = [
        row("miT", "prostate", "local focus"),
        Letter(
            "miT2, T3a, T3b, T4, Tr", _NOT, "seminal vesicles, rectum, sphincter and earlier surgery are not in the map"
        ),
        row(
            "miN",
            "pelvic nodes",
            _pelvic_word(pelvic),
            "internal, external and common iliac are not told apart: one side is one region",
        ),
        row("miM1a", "other nodes"),
        row("miM1b", "bone", note=_pattern(bone)),
        row("miM1c", "viscera"),
    ]
    if other := by_region["other"]:
        rows.append(Letter("without a region", f"{len(other)} foci", _evidence(other)))
    rows.append(_expression(lesions, totals[Tracer.PSMA]))
    return tuple(rows)


def _firm(lesion: Lesion) -> bool:
    """Neither small nor of a probability that the page calls uncertain."""
    return not lesion.small and (lesion.probability is None or lesion.probability > UNSURE[1])


def _pelvic_word(pelvic: Sequence[Lesion]) -> str:
    def stations(lesions: Sequence[Lesion]) -> int:
        return len({(x.naming.first.side, x.naming.first.name) for x in lesions})

    firm = [x for x in pelvic if _firm(x)]
    if stations(firm) > 1:
        return "miN1b"
    return "miN1a or more" + ("; miN1b if small or doubtful foci count" if stations(pelvic) > 1 else "")


def _evidence(lesions: Sequence[Lesion], missed: Sequence[Candidate] = (), note: str = "") -> str:
    """Firm foci first, weak ones marked; then what was hot there and not called disease."""
    ordered = sorted(lesions, key=lambda x: not _firm(x))
    said = "; ".join(map(_said, ordered[:_NAMED])) or "no PSMA focus called disease there"
    if len(ordered) > _NAMED:
        said += f"; and {len(ordered) - _NAMED} more"
    if note and lesions:
        said += f" ({note})"
    if missed:
        named = ", ".join(
            f"{c.id} ({number_ml(c.volume_ml)} ml, SUVmax {c.suv_max:.1f})" for c in missed[:_NAMED_MISSES]
        )
        said += f". Hot there but not called disease: {named}; see possible misses"
    return said


def _said(lesion: Lesion) -> str:
    weak = ""
    if lesion.probability is not None and lesion.probability <= UNSURE[1]:
        weak = f" (p = {lesion.probability:.2f})"
    elif lesion.small:
        weak = " (small)"
    return f"{lesion.id} {lesion.naming.first.text}, {number_ml(lesion.volume_ml)} ml{weak}"


def _pattern(bone: Sequence[Lesion]) -> str:
    firm = [x for x in bone if _firm(x)]
    bones = {(x.naming.first.name, x.naming.first.side, x.naming.first.level) for x in firm}
    rest = f", {len(bone) - len(firm)} small or doubtful ones beside them" if len(bone) > len(firm) else ""
    foci, places = ("focus" if len(firm) == 1 else "foci"), ("bone" if len(bones) == 1 else "bones")
    return f"{len(firm)} {foci} in {len(bones)} {places}{rest}; the pattern is for the reader"


def _expression(lesions: Sequence[Lesion], totals: Totals) -> Letter:
    """Uptake against the liver: as far as an organ map without salivary glands goes."""
    name = "PSMA expression"
    if totals.liver_suv is None:
        return Letter(name, _NOT, "no liver in the organ map")
    if not lesions:
        return Letter(name, _NONE, "no PSMA focus called disease")
    liver = totals.liver_suv[0]
    above = sum(x.volume_ml for x in lesions if x.suv_mean >= liver)
    whole = totals.whole.volume_ml
    return Letter(
        name,
        f"{100 * above / whole:.0f} % of the volume at or above the liver",
        f"SUVmean of foci against the liver's mean of {liver:.1f}; the parotid gland, which the highest "
        "score needs, has no label; for radioligands excreted by the liver the spleen is the reference: not assessed",
    )
