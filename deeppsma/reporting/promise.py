"""A draft of miTNM after PROMISE, each letter with its evidence, and "not assessed" where organ maps cannot tell.

The table is PROMISE's first version (Eiber et al., J Nucl Med 2018;59:469); of the second (Seifert et al., Eur Urol
2023) only the abstract could be read. A physician decides; T2 to T4 cannot be told apart here, since the organ map has
no seminal vesicles, rectum wall or sphincter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deeppsma.core.tracer import Tracer
from deeppsma.reporting.lesion_table import Lesion, LesionTable
from deeppsma.reporting.totals import Totals

SOURCE = "PROMISE, first version: Eiber et al., J Nucl Med 2018;59:469"
_NOT = "not assessed"


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


def draft_mitnm(table: LesionTable, totals: dict[Tracer, Totals], with_organs: bool) -> tuple[Letter, ...]:
    """Rows of the draft, from the PSMA lesions.

    Parameters
    ----------
    table, totals
        Of the case.
    with_organs
        Whether the PSMA session has an organ map.
    """
    if Tracer.PSMA not in totals:
        return (Letter("miTNM", _NOT, "no PSMA result"),)
    if not with_organs:
        return (Letter("miTNM", _NOT, "no organ map: places are unnamed"),)
    lesions = table.of(Tracer.PSMA)
    local, pelvic, nodes, bone, viscera, other = (
        [x for x in lesions if x.naming.first.region == region]
        for region in ("prostate", "pelvic nodes", "other nodes", "bone", "viscera", "other")
    )
    stations = {(x.naming.first.side, x.naming.first.name) for x in pelvic}
    n = "no focus found" if not pelvic else "miN1a or more" if len(stations) == 1 else "miN1b"
    rows = [
        Letter("miT", "local focus" if local else "no focus found", _evidence(local)),
        Letter(
            "miT2, T3a, T3b, T4, Tr", _NOT, "seminal vesicles, rectum, sphincter and earlier surgery are not in the map"
        ),
        Letter(
            "miN",
            n,
            _evidence(pelvic, "internal, external and common iliac are not told apart: one side is one region"),
        ),
        Letter("miM1a", "present" if nodes else "no focus found", _evidence(nodes)),
        Letter("miM1b", "present" if bone else "no focus found", _evidence(bone, _pattern(bone))),
        Letter("miM1c", "present" if viscera else "no focus found", _evidence(viscera)),
    ]
    if other:
        rows.append(Letter("without a region", f"{len(other)} foci", _evidence(other)))
    rows.append(_expression(lesions, totals[Tracer.PSMA]))
    return tuple(rows)


def _evidence(lesions: Sequence[Lesion], note: str = "") -> str:
    shown = "; ".join(f"{x.id} {x.naming.first.text}, {x.volume_ml:.1f} ml" for x in lesions[:6])
    more = f"; and {len(lesions) - 6} more" if len(lesions) > 6 else ""
    said = f" ({note})" if note and lesions else ""
    return (shown + more + said) or "no PSMA focus above the threshold there"


def _pattern(bone: Sequence[Lesion]) -> str:
    bones = {(x.naming.first.name, x.naming.first.side, x.naming.first.level) for x in bone}
    return f"{len(bone)} foci in {len(bones)} bones; the pattern is for the reader"


def _expression(lesions: Sequence[Lesion], totals: Totals) -> Letter:
    """Uptake against the liver: as far as an organ map without salivary glands goes."""
    name = "PSMA expression"
    if totals.liver_suv is None:
        return Letter(name, _NOT, "no liver in the organ map")
    if not lesions:
        return Letter(name, "no focus found", "no PSMA focus above the threshold")
    liver = totals.liver_suv[0]
    above = sum(x.volume_ml for x in lesions if x.suv_mean >= liver)
    whole = totals.whole.volume_ml
    return Letter(
        name,
        f"{100 * above / whole:.0f} % of the volume at or above the liver",
        f"SUVmean of foci against the liver's mean of {liver:.1f}; the parotid gland, which the highest "
        "score needs, has no label; for radioligands excreted by the liver the spleen is the reference: not assessed",
    )
