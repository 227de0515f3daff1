"""Which series plays which part: the PET of each tracer, its CT, its organ map.

Rules, in order; each choice is kept as a line for the run report. What the rules leave open is refused with a list,
and a site's file or an option decides. Nothing is chosen by file order, and no tracer by its uptake.

PET: one that can be used, of the tracer; those that the site's patterns prefer; original before derived; those that
cover most of the body (80 % of the longest or more). More than one left: refused.

CT: of the PET's frame of reference, axial, over 95 % of the PET's length; those that the site's patterns prefer; the
widest field of view; nearest in time to the PET; thickest slices (the smooth reconstruction, as a rule). More than one
left: refused.

Organ map: a SEG of organs of the PET's frame of reference. More than one: refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np

from deeppsma.core.errors import InputError
from deeppsma.core.geometry import Geometry
from deeppsma.core.tracer import Tracer
from deeppsma.io.dicom.examine import Candidate
from deeppsma.io.dicom.header import Header
from deeppsma.io.dicom.reference_time import acquisition_moments
from deeppsma.io.dicom.site import Site

#: A PET shorter than this share of the longest is a part of the body.
LENGTH_SHARE = 0.8
#: A CT must cover this share of its PET's length.
COVERED_SHARE = 0.95
#: Fields of view and slice thicknesses within this share of each other count as the same; times within these minutes.
SAME_SHARE, SAME_TIME = 0.05, timedelta(minutes=2)
#: An axial slice's normal is the body's axis within about 15 degrees.
AXIAL_COSINE = 0.965


@dataclass(frozen=True)
class Choice:
    """Series by their part.

    Parameters
    ----------
    pets, cts, organs
        By tracer.
    reasons
        How each was chosen.
    problems
        What could not be decided, by tracer: one line each.
    """

    pets: dict[Tracer, Candidate] = field(default_factory=dict)
    cts: dict[Tracer, Candidate] = field(default_factory=dict)
    organs: dict[Tracer, Candidate] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    def role(self, candidate: Candidate) -> str | None:
        """``psma-pet``, ``fdg-ct``, ``psma-organs`` ...; None for a series without a part."""
        for part, chosen in (("pet", self.pets), ("ct", self.cts), ("organs", self.organs)):
            for tracer, other in chosen.items():
                if other is candidate:
                    return f"{tracer}-{part}"
        return None


def choose(candidates: Sequence[Candidate], site: Site) -> Choice:
    """Give series their parts; what cannot be decided is in ``problems``, nothing raises.

    Parameters
    ----------
    candidates
        All series of the folder.
    site
        A hospital's rules.
    """
    reasons: list[str] = []
    problems: list[str] = []
    pets: dict[Tracer, Candidate] = {}
    cts: dict[Tracer, Candidate] = {}
    organs: dict[Tracer, Candidate] = {}
    for tracer in Tracer:
        offered = [candidate for candidate in candidates if candidate.is_pet and candidate.tracer is tracer]
        if not offered:
            continue
        pet = _narrowed(f"{tracer.upper()} PET", offered, _pet_rules(site), reasons, problems)
        if pet is None:
            continue
        pets[tracer] = pet
        if ct := _ct_of(pet, tracer, candidates, site, reasons, problems):
            cts[tracer] = ct
        maps = [c for c in candidates if c.organs is not None and _shares_frame(c.organs.frame_of_reference, pet)]
        if maps and (chosen := _narrowed(f"{tracer.upper()} organ map", maps, (), reasons, problems)):
            organs[tracer] = chosen
    if len(pets) == len(Tracer):
        problems += _session_problems(pets, site)
    for tracer, pet in pets.items():
        problems += _completeness(f"{tracer.upper()} PET", pet, site)
    return Choice(pets, cts, organs, tuple(reasons), tuple(problems))


Rule = tuple[str, Callable[[Sequence[Candidate]], list[Candidate]]]


def _narrowed(
    part: str, offered: Sequence[Candidate], rules: Sequence[Rule], reasons: list[str], problems: list[str]
) -> Candidate | None:
    """The one candidate that the rules leave; None, with a problem, where several are left."""
    left = list(offered)
    used: list[str] = []
    for name, rule in rules:
        if len(left) > 1 and (narrower := rule(left)) and len(narrower) < len(left):
            left = narrower
            used.append(name)
    if len(left) > 1:
        listing = ", ".join(_described(candidate) for candidate in left)
        how = "say which by a pattern in a site file (--site), or take the others out of the folder"
        problems.append(f"{len(left)} series could be the {part}: {listing}; {how}")
        return None
    why = f"by {', '.join(used)} of {len(offered)}" if used else "the only one"
    reasons.append(f"{part}: {_described(left[0])}, {why}")
    return left[0]


def _described(candidate: Candidate) -> str:
    """Modality, description, slices, end of the UID. A series' description is the scanner's protocol, no name."""
    description = candidate.files.first.text("SeriesDescription")
    named = f" {description!r}" if description else ""
    return f"{candidate.files.label}{named}"


def _pet_rules(site: Site) -> tuple[Rule, ...]:
    return (
        *_preferences(site.pet),
        ("being original", lambda left: [c for c in left if "DERIVED" not in _image_type(c.files.first)]),
        ("covering most of the body", _longest),
    )


def _preferences(patterns: Sequence[str]) -> tuple[Rule, ...]:
    def rule(pattern: str) -> Rule:
        def matching(left: Sequence[Candidate]) -> list[Candidate]:
            return [c for c in left if re.search(pattern, c.files.first.text("SeriesDescription"), re.IGNORECASE)]

        return f"the site's pattern {pattern!r}", matching

    return tuple(rule(pattern) for pattern in patterns)


def _image_type(header: Header) -> list[str]:
    return header.text("ImageType").upper().split("\\")


def _grid(candidate: Candidate) -> Geometry:
    if candidate.series is None:
        raise ValueError(f"{candidate.files.label} is no volume")
    return candidate.series.geometry


def _length_mm(candidate: Candidate) -> float:
    grid = _grid(candidate)
    return grid.shape_zyx[0] * grid.spacing_zyx[0]


def _longest(left: Sequence[Candidate]) -> list[Candidate]:
    longest = max(_length_mm(candidate) for candidate in left)
    return [candidate for candidate in left if _length_mm(candidate) >= LENGTH_SHARE * longest]


def _ct_of(
    pet: Candidate,
    tracer: Tracer,
    candidates: Sequence[Candidate],
    site: Site,
    reasons: list[str],
    problems: list[str],
) -> Candidate | None:
    same = [c for c in candidates if c.is_ct and c.series and _shares_frame(c.series.frame_of_reference, pet)]
    axial = [c for c in same if abs(_grid(c).direction_matrix[2, 2]) >= AXIAL_COSINE]
    fitting = [c for c in axial if covered_share(_grid(pet), _grid(c)) >= COVERED_SHARE]
    part = f"{tracer.upper()} CT"
    if not fitting:
        why = "none of its frame of reference"
        if same:
            why = "none axial" if not axial else f"none that covers {100 * COVERED_SHARE:.0f} % of the PET's length"
        reasons.append(f"{part}: none; {why}")
        return None
    pet_time = _first_moment(pet)
    rules: tuple[Rule, ...] = (
        *_preferences(site.ct),
        ("the widest field of view", _best(lambda c: _grid(c).shape_zyx[1] * _grid(c).spacing_zyx[1])),
        ("the time nearest to the PET", lambda left: _nearest(left, pet_time)),
        ("the thickest slices", _best(lambda c: c.files.first.number("SliceThickness") or _grid(c).spacing_zyx[0])),
    )
    return _narrowed(part, fitting, rules, reasons, problems)


def _best(value: Callable[[Candidate], float]) -> Callable[[Sequence[Candidate]], list[Candidate]]:
    def rule(left: Sequence[Candidate]) -> list[Candidate]:
        values = [value(candidate) for candidate in left]
        return [c for c, v in zip(left, values, strict=True) if v >= (1 - SAME_SHARE) * max(values)]

    return rule


def _first_moment(candidate: Candidate) -> datetime | None:
    try:
        return min(acquisition_moments(candidate.series.stack.headers)) if candidate.series else None
    except InputError:
        return None


def _nearest(left: Sequence[Candidate], pet_time: datetime | None) -> list[Candidate]:
    moments = [_first_moment(candidate) for candidate in left]
    if pet_time is None or any(moment is None for moment in moments):
        return list(left)
    apart = [abs(moment - pet_time) for moment in moments if moment is not None]
    return [c for c, a in zip(left, apart, strict=True) if a <= min(apart) + SAME_TIME]


def covered_share(pet: Geometry, ct: Geometry) -> float:
    """Share of a PET's length (z) that a CT covers.

    Parameters
    ----------
    pet, ct
        Grids of one frame of reference.
    """
    low, high = (np.array([f(g.corners_world()[:, 2]) for g in (pet, ct)]) for f in (np.min, np.max))
    return float(max(0.0, high.min() - low.max()) / (high[0] - low[0]))


def _shares_frame(uid: str, pet: Candidate) -> bool:
    return pet.series is not None and bool(uid) and uid == pet.series.frame_of_reference


def _session_problems(pets: dict[Tracer, Candidate], site: Site) -> list[str]:
    problems = []
    psma, fdg = (pets[tracer].files.first for tracer in (Tracer.PSMA, Tracer.FDG))
    if psma.text("PatientID") != fdg.text("PatientID") and not site.other_patient_id:
        remedy = "give one patient's studies, or set other_patient_id in a site file if it is one"
        problems.append(f"the PSMA and the FDG PET have different PatientIDs: two patients?; {remedy}")
    days = days_apart(psma, fdg)
    if site.days_apart_max is not None and days is not None and days > site.days_apart_max:
        found = f"the two sessions lie {days} days apart, more than {site.days_apart_max:g}"
        problems.append(f"{found}; set days_apart_max in the site file if that is right")
    return problems


def days_apart(one: Header, other: Header) -> int | None:
    """Days between two studies; None where a date is missing."""
    dates = [header.day("StudyDate") or header.day("SeriesDate") for header in (one, other)]
    if dates[0] is None or dates[1] is None:
        return None
    return abs((dates[0] - dates[1]).days)


def _completeness(part: str, candidate: Candidate, site: Site) -> list[str]:
    series = candidate.series
    if series is None or site.incomplete or series.expected_slices is None:
        return []
    found = len(series.stack.headers)
    if found >= series.expected_slices:
        return []
    said = f"the {part} says it has {series.expected_slices} slices (0054,0081), {found} are here"
    return [f"{said}; send the rest, or set incomplete in a site file"]
