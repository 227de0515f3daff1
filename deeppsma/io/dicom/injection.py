"""What was injected: nuclide and half-life, dose, the patient's weight, and when.

Every value is checked against what is possible; what cannot be is refused, and the message names the tag. Bounds are
this project's: they are wide, so that they find wrong units and swapped fields, not unusual patients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from deeppsma.core.errors import InputError
from deeppsma.core.tracer import Tracer
from deeppsma.io.dicom.agents import Nuclide, catalogue
from deeppsma.io.dicom.header import EXPORT_AGAIN, Header, shared, shared_number, tag_of

#: A half-life farther than this from the nuclide's own is another nuclide's, or another unit.
HALF_LIFE_TOLERANCE = 0.02
WEIGHT_LIMITS_KG = (20.0, 350.0)
#: Above it a weight is in grams.
WEIGHT_GRAMS_ABOVE = 1000.0
#: A dose in this range is in MBq: as Bq it would be a billionth of any that is given.
DOSE_MBQ_LIKE = (10.0, 2000.0)
DOSE_LIMITS_MBQ = {"fdg": (40.0, 800.0), "psma F-18": (100.0, 500.0), "Ga-68": (40.0, 400.0), "other": (40.0, 800.0)}
#: The injection must lie this long before the image's reference time; beyond the usual it is said.
UPTAKE_LIMITS_MIN, UPTAKE_USUAL_MIN = (10.0, 360.0), (45.0, 150.0)
#: StartTime and StartDateTime of one injection may differ by rounding.
SAME_CLOCK_S = 60.0
_DAY = timedelta(days=1)
#: Nuclides that are gone after a day, so that a clock time without its date can be only one moment.
_SHORT_LIVED = ("F-18", "Ga-68")
_CODE_SEQUENCE = "RadionuclideCodeSequence"
_INFORMATION = "RadiopharmaceuticalInformationSequence"
_ENTER = "ask the site for the right value and enter it"


@dataclass(frozen=True)
class HalfLife:
    """Half-life and the nuclide it belongs to.

    Parameters
    ----------
    seconds
        As the header has it, or of the nuclide where the header has none.
    nuclide
        Name.
    warnings
        What was not as it should be.
    """

    seconds: float
    nuclide: str
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise ValueError(f"a half-life must be positive, not {self.seconds} s")


def injection_item(headers: Sequence[Header]) -> Header:
    """The one item of the radiopharmaceutical sequence, the same in every slice.

    Raises
    ------
    InputError
        If there is none, several, or slices differ in it.
    """
    items = [header.items(_INFORMATION) for header in headers]
    for header, found in zip(headers, items, strict=True):
        if len(found) != 1:
            held = f"holds {len(found)} items" if found else "is missing"
            raise header.refuse(_INFORMATION, held, "give a series of one injection")
    firsts = [found[0] for found in items]
    for keyword in ("RadiopharmaceuticalStartTime", "RadiopharmaceuticalStartDateTime"):
        shared(firsts, keyword)
    for keyword in ("RadionuclideTotalDose", "RadionuclideHalfLife"):
        shared_number(firsts, keyword)
    return firsts[0]


def nuclide_of(item: Header) -> tuple[Nuclide | None, tuple[str, ...]]:
    """The nuclide, and what was odd.

    The code decides, not text. Where the code's own meaning names another nuclide, the half-life is the third
    witness: two of three decide.

    Parameters
    ----------
    item
        Of the radiopharmaceutical sequence.

    Returns
    -------
    tuple
        None where nothing names a nuclide.

    Raises
    ------
    InputError
        If there are several nuclides, or code and half-life are of two nuclides.
    """
    known, codes = catalogue(), item.items(_CODE_SEQUENCE)
    if len(codes) > 1:
        raise item.refuse(_CODE_SEQUENCE, f"names {len(codes)} nuclides", "give a series of one tracer")
    half_life = item.number("RadionuclideHalfLife")
    by_time = None if half_life is None else known.nuclide_of_half_life(half_life, HALF_LIFE_TOLERANCE)
    code = known.code_of(codes[0]) if codes else ""
    by_code = known.nuclide_of_code(code)
    by_meaning = known.nuclide_of_text(codes[0].text("CodeMeaning")) if codes else None
    if by_code is not None and by_meaning is not None and by_code != by_meaning:
        if by_time not in (by_code, by_meaning) or by_time is None:
            found = f"has the code of {by_code.name} and the meaning {by_meaning.name}"
            raise item.refuse(_CODE_SEQUENCE, found, EXPORT_AGAIN)
        said = f"{tag_of(_CODE_SEQUENCE)} has the code of {by_code.name} and the meaning {by_meaning.name}; "
        return by_time, (said + f"the half-life is that of {by_time.name}, which is taken",)
    nuclide = by_code or by_meaning
    if nuclide is None:
        return by_time, ()
    if half_life is not None and abs(half_life / nuclide.half_life_s - 1) > HALF_LIFE_TOLERANCE:
        also = f", the half-life of {by_time.name}" if by_time is not None else ""
        found = f"is {half_life:g} s{also}, but the nuclide is {nuclide.name} ({nuclide.half_life_s:g} s)"
        raise item.refuse("RadionuclideHalfLife", found, EXPORT_AGAIN)
    return nuclide, ()


def half_life_of(item: Header) -> HalfLife:
    """Half-life of the injected nuclide; from its code where the header has none.

    Raises
    ------
    InputError
        If nothing says it, or it is no nuclide's.
    """
    nuclide, warnings = nuclide_of(item)
    seconds = item.number("RadionuclideHalfLife")
    if nuclide is None:
        if seconds is None:
            raise item.refuse("RadionuclideHalfLife", "is missing, and no code names the nuclide", EXPORT_AGAIN)
        known = ", ".join(f"{n.name} {n.half_life_s:g} s" for n in catalogue().nuclides[:4])
        raise item.refuse("RadionuclideHalfLife", f"is {seconds:g} s, of no nuclide known ({known}, ...)", EXPORT_AGAIN)
    if seconds is None:
        said = f"{tag_of('RadionuclideHalfLife')} is missing: {nuclide.half_life_s:g} s of {nuclide.name} taken"
        return HalfLife(nuclide.half_life_s, nuclide.name, (*warnings, said))
    return HalfLife(seconds, nuclide.name, warnings)


def weight_kg(headers: Sequence[Header]) -> tuple[float, tuple[str, ...]]:
    """The patient's weight, kg, and what was odd.

    Raises
    ------
    InputError
        If it is missing, 0, or nobody's.
    """
    weight = shared_number(headers, "PatientWeight")
    if weight is None or weight == 0:
        held = "is missing" if weight is None else "is 0"
        raise headers[0].refuse("PatientWeight", held, "SUV needs the weight: enter it")
    warnings: tuple[str, ...] = ()
    if weight > WEIGHT_GRAMS_ABOVE:
        warnings = (f"{tag_of('PatientWeight')} is {weight:g}: taken as grams",)
        weight /= 1000
    low, high = WEIGHT_LIMITS_KG
    if not low <= weight <= high:
        swapped = " (size and weight swapped?)" if 1.2 <= weight <= 2.3 else ""
        raise headers[0].refuse("PatientWeight", f"is {weight:g} kg, not {low:g} to {high:g}{swapped}", _ENTER)
    return weight, warnings


def dose_bq(item: Header, nuclide: str, tracer: Tracer | None) -> tuple[float, tuple[str, ...]]:
    """The injected activity, Bq, and what was odd.

    Parameters
    ----------
    item
        Of the radiopharmaceutical sequence.
    nuclide
        Name; the bounds are the nuclide's and the tracer's.
    tracer
        None where it is not known.

    Raises
    ------
    InputError
        If it is missing, or no dose that is given.
    """
    dose = item.number("RadionuclideTotalDose")
    if dose is None or dose == 0:
        held = "is missing" if dose is None else "is 0"
        raise item.refuse("RadionuclideTotalDose", held, "SUV needs the injected activity: enter it")
    warnings: list[str] = []
    if DOSE_MBQ_LIKE[0] <= dose <= DOSE_MBQ_LIKE[1]:
        warnings.append(f"{tag_of('RadionuclideTotalDose')} is {dose:g}: taken as MBq")
        dose *= 1e6
    kind = "Ga-68" if nuclide == "Ga-68" else "fdg" if tracer is Tracer.FDG else "other"
    if tracer is Tracer.PSMA and nuclide == "F-18":
        kind = "psma F-18"
    low, high = DOSE_LIMITS_MBQ[kind]
    if not low <= dose / 1e6 <= high:
        what = f"{tracer.upper()} with {nuclide}" if tracer else nuclide
        found = f"is {dose / 1e6:.6g} MBq, not {low:g} to {high:g} as for {what}"
        raise item.refuse("RadionuclideTotalDose", found, _ENTER)
    return dose, tuple(warnings)


@dataclass(frozen=True)
class Injection:
    """When it was given.

    Parameters
    ----------
    uptake_s
        Seconds from the injection to the reference time.
    source
        Which tag said so.
    warnings
        What was odd.
    """

    uptake_s: float
    source: str
    warnings: tuple[str, ...] = ()


def injection_before(item: Header, reference: datetime, nuclide: str, zone: Header) -> Injection:
    """The injection, held against the image's reference time.

    A DateTime with a date that cannot be (shifted by anonymisation, not the scan's) is read as a clock time for
    nuclides that are gone after a day. A clock time later than the reference is of the day before.

    Parameters
    ----------
    item
        Of the radiopharmaceutical sequence.
    reference
        Local time of the scanner, without a zone.
    nuclide
        Name.
    zone
        Header that may hold TimezoneOffsetFromUTC.

    Raises
    ------
    InputError
        If there is no time, the two times contradict each other, or the uptake time is impossible.
    """
    clock, moment = item.clock("RadiopharmaceuticalStartTime"), item.moment("RadiopharmaceuticalStartDateTime")
    by_time, by_moment = tag_of("RadiopharmaceuticalStartTime"), tag_of("RadiopharmaceuticalStartDateTime")
    warnings: list[str] = []
    if moment is not None:
        moment = _local(moment, zone)
        uptake = (reference - moment).total_seconds()
        if 0 <= uptake <= _DAY.total_seconds():
            if clock is not None and _clock_apart_s(moment, datetime.combine(moment.date(), clock)) > SAME_CLOCK_S:
                raise item.refuse("RadiopharmaceuticalStartDateTime", f"and {by_time} are two times", _ENTER)
            return _plausible(Injection(uptake, by_moment), item, by_moment)
        if nuclide not in _SHORT_LIVED:
            raise item.refuse("RadiopharmaceuticalStartDateTime", "is not within a day before the scan", _ENTER)
        warnings.append(f"{by_moment} is not within a day before the scan: only its clock time is used")
        clock = clock or moment.time()
    if clock is None:
        raise item.refuse("RadiopharmaceuticalStartTime", "is missing", "SUV needs the time of injection: enter it")
    at = datetime.combine(reference.date(), clock)
    after = at > reference
    if after:
        at -= _DAY
        warnings.append("the injection's clock time is later than the scan's: taken as of the day before")
    source = by_time if item.text("RadiopharmaceuticalStartTime") else by_moment
    injection = Injection((reference - at).total_seconds(), source, tuple(warnings))
    return _plausible(injection, item, f"{source} is after the scan, or of the day before: it" if after else source)


def _local(moment: datetime, zone: Header) -> datetime:
    """A moment in the scanner's local time. An offset without the scanner's own is of the scanner's zone."""
    if moment.tzinfo is None:
        return _naive(moment)
    offset = zone.text("TimezoneOffsetFromUTC")
    if offset:
        try:
            local = datetime.strptime(offset, "%z").tzinfo
        except ValueError:
            raise zone.refuse("TimezoneOffsetFromUTC", "is no offset such as +0100") from None
        moment = moment.astimezone(local)
    return _naive(moment)


def _naive(moment: datetime) -> datetime:
    plain = (moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second, moment.microsecond)
    return datetime(*plain)


def _clock_apart_s(one: datetime, other: datetime) -> float:
    apart = abs((one - other).total_seconds())
    return min(apart, _DAY.total_seconds() - apart)


def _plausible(injection: Injection, item: Header, source: str) -> Injection:
    minutes = injection.uptake_s / 60
    low, high = UPTAKE_LIMITS_MIN
    if not low <= minutes <= high:
        found = f"{source} lies {minutes:.4g} min before the image's reference time, not {low:g} to {high:g}"
        raise InputError(item.path, found, "check injection and scan times; they decide SUV")
    usual_low, usual_high = UPTAKE_USUAL_MIN
    if usual_low <= minutes <= usual_high:
        return injection
    said = f"uptake time {minutes:.4g} min; usual are {usual_low:g} to {usual_high:g}"
    return Injection(injection.uptake_s, injection.source, (*injection.warnings, said))
