"""The moment that a PET's decay correction refers to, where DecayCorrection is START.

The standard means the start of the scan; which tag holds it depends on the vendor and on what re-dated the series.
Order of rules: SeriesTime, if no later than the first acquisition; GE's own tag; what acquisition times and frame
reference times give when computed back, if all slices agree; the first acquisition, with a warning.

The tolerances were chosen on real vendor headers and reference objects that are also in the tests.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from deeppsma.io.dicom.header import Header, shared, tag_of

#: SeriesTime may be this much later than the first AcquisitionTime: vendors round one of them.
ROUNDING_S = 1.0
#: Times computed back from slices of one scan agree within it.
AGREEMENT_S = 2.0
#: A frame reference time below this share of the frame is of the frame's start (GE), else of its middle.
START_OF_FRAME_SHARE = 0.45
#: No scan lasts longer; a series dated earlier is of shifted dates.
SCAN_MAX = timedelta(hours=6)
GE_CREATOR, SIEMENS_CREATOR = "GEMS_PETD_01", "SIEMENS MED"
_GE_TAG, _SIEMENS_TAG = "GE's scan time (0009,100D)", "Siemens's decay correction time (0071,1022)"


@dataclass(frozen=True)
class ReferenceTime:
    """The moment, and which rule gave it.

    Parameters
    ----------
    moment
        Local time of the scanner.
    rule
        For the run report.
    checks
        What else was held against it.
    warnings
        What was odd.
    """

    moment: datetime
    rule: str
    checks: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def acquisition_moments(headers: Sequence[Header]) -> list[datetime]:
    """When the acquisition of each slice began.

    Raises
    ------
    InputError
        If a slice has no acquisition time or no date at all.
    """
    return [_acquisition(header) for header in headers]


def _acquisition(header: Header) -> datetime:
    clock = header.clock("AcquisitionTime")
    moment = header.moment("AcquisitionDateTime")
    if clock is None:
        if moment is None:
            raise header.refuse("AcquisitionTime", "is missing")
        return moment.replace(tzinfo=None)
    day = header.day("AcquisitionDate") or (moment.date() if moment else None) or header.day("SeriesDate")
    if day is None:
        raise header.refuse("AcquisitionDate", "is missing, and so is SeriesDate")
    at = datetime.combine(day, clock)
    series_day, series_clock = header.day("SeriesDate"), header.clock("SeriesTime")
    if series_day is not None and series_clock is not None:
        # Over midnight the date may have stayed the series' own.
        next_day = at + timedelta(days=1)
        if timedelta(0) <= next_day - datetime.combine(series_day, series_clock) <= SCAN_MAX:
            return next_day
    return at


def reference_of(headers: Sequence[Header], half_life_s: float) -> ReferenceTime:
    """Reference time of a series whose DecayCorrection is START.

    Parameters
    ----------
    headers
        Of all slices.
    half_life_s
        Seconds.

    Raises
    ------
    InputError
        If acquisition times are missing.
    """
    acquired = acquisition_moments(headers)
    first = min(acquired)
    found = _by_series_time(headers, first) or _by_ge(headers, first)
    if found is None:
        computed = _computed_back(headers, acquired, half_life_s)
        found = computed if computed is not None and _possible(computed.moment, first) else None
    if found is None:
        said = f"{tag_of('SeriesTime')} is later than the first acquisition, and nothing else gives the scan's start"
        found = ReferenceTime(first, f"earliest {tag_of('AcquisitionTime')}", (), (said,))
    checks, warnings = _vendor_checks(headers[0], found.moment)
    checks += _decay_factor_check(headers, half_life_s)
    return ReferenceTime(found.moment, found.rule, found.checks + checks, found.warnings + warnings)


def _possible(reference: datetime, first: datetime) -> bool:
    return -ROUNDING_S <= (first - reference).total_seconds() <= SCAN_MAX.total_seconds()


def _by_series_time(headers: Sequence[Header], first: datetime) -> ReferenceTime | None:
    shared(headers, "SeriesTime")
    shared(headers, "SeriesDate")
    clock, day = headers[0].clock("SeriesTime"), headers[0].day("SeriesDate")
    if clock is None:
        return None
    if day is None:
        at = datetime.combine(first.date(), clock)
        at -= timedelta(days=1) if at - first > timedelta(hours=12) else timedelta(0)
    else:
        at = datetime.combine(day, clock)
    rule = f"{tag_of('SeriesTime')}, not later than the first acquisition"
    if _possible(at, first):
        return ReferenceTime(at, rule)
    # A series cannot be made before it is acquired: an older date was shifted. A later one was re-dated.
    same_day = datetime.combine(first.date(), clock)
    if at < first and _possible(same_day, first):
        said = f"{tag_of('SeriesDate')} is not the acquisition's: only the clock time is used"
        return ReferenceTime(same_day, rule, (), (said,))
    return None


def _by_ge(headers: Sequence[Header], first: datetime) -> ReferenceTime | None:
    moment = _private_moment(headers[0], 0x0009, 0x0D, GE_CREATOR)
    if moment is None or not _possible(moment, first):
        return None
    said = f"{tag_of('SeriesTime')} is later than the first acquisition (a processed series): {_GE_TAG} taken"
    return ReferenceTime(moment, _GE_TAG, (), (said,))


def _computed_back(headers: Sequence[Header], acquired: Sequence[datetime], half_life_s: float) -> ReferenceTime | None:
    frames = [_frame_s(header) for header in headers]
    if any(frame is None for frame in frames):
        return None
    timed = [frame for frame in frames if frame is not None]
    of_start = reference_is_start(timed)
    moments = []
    for at, (offset_s, duration_s) in zip(acquired, timed, strict=True):
        into_frame_s = 0.0 if of_start else mean_count_time_s(duration_s, half_life_s)
        moments.append(at + timedelta(seconds=into_frame_s - offset_s))
    if (max(moments) - min(moments)).total_seconds() > AGREEMENT_S:
        return None
    middle = sorted(moments)[len(moments) // 2]
    said = f"{tag_of('SeriesTime')} is later than the first acquisition (a processed series): computed back"
    where = "start" if of_start else "middle"
    rule = f"{tag_of('AcquisitionTime')} less {tag_of('FrameReferenceTime')}, read as the frame's {where}"
    return ReferenceTime(middle, f"{rule}; all slices agree", (), (said,))


def reference_is_start(frames_s: Sequence[tuple[float, float]]) -> bool:
    """Whether a series' frame reference times are of the frames' starts, as GE writes them.

    Parameters
    ----------
    frames_s
        Frame reference time and duration of each slice, seconds. The first frame tells: later ones are far from 0
        in either way of writing.
    """
    offset_s, duration_s = min(frames_s)
    return offset_s < START_OF_FRAME_SHARE * duration_s


def _frame_s(header: Header) -> tuple[float, float] | None:
    offset_ms, duration_ms = header.number("FrameReferenceTime"), header.number("ActualFrameDuration")
    if offset_ms is None or duration_ms is None or duration_ms <= 0:
        return None
    return offset_ms / 1000, duration_ms / 1000


def mean_count_time_s(duration_s: float, half_life_s: float) -> float:
    """When, after a frame's start, the activity is the frame's mean; seconds.

    Parameters
    ----------
    duration_s, half_life_s
        Of the frame and of the nuclide.
    """
    decay = math.log(2) / half_life_s
    return math.log(decay * duration_s / -math.expm1(-decay * duration_s)) / decay


def _vendor_checks(header: Header, reference: datetime) -> tuple[tuple[str, ...], tuple[str, ...]]:
    checks: list[str] = []
    warnings: list[str] = []
    places = ((0x0009, 0x0D, GE_CREATOR, _GE_TAG), (0x0071, 0x22, SIEMENS_CREATOR, _SIEMENS_TAG))
    for group, element, creator, name in places:
        moment = _private_moment(header, group, element, creator)
        if moment is None:
            continue
        apart_s = (moment - reference).total_seconds()
        if abs(apart_s) <= AGREEMENT_S:
            checks.append(f"{name} agrees")
        else:
            warnings.append(f"{name} is {apart_s:+.0f} s from the reference time")
    return tuple(checks), tuple(warnings)


def _private_moment(header: Header, group: int, element: int, creator: str) -> datetime | None:
    value = header.private(group, element, creator)
    if value is None:
        return None
    digits = str(value).strip().split("+")[0].split("-")[0]
    for form in ("%Y%m%d%H%M%S.%f", "%Y%m%d%H%M%S"):
        try:
            return datetime.strptime(digits, form)
        except ValueError:
            continue
    return None


def _decay_factor_check(headers: Sequence[Header], half_life_s: float) -> tuple[str, ...]:
    """Whether the decay factors that the scanner applied are those of its frame reference times."""
    apart = []
    frames = [_frame_s(header) for header in headers]
    factors = [header.number("DecayFactor") for header in headers]
    timed = [(f, factor) for f, factor in zip(frames, factors, strict=True) if f is not None and factor is not None]
    if not timed:
        return ()
    of_start = reference_is_start([frame for frame, _ in timed])
    for (offset_s, duration_s), factor in timed:
        at_s = offset_s + (mean_count_time_s(duration_s, half_life_s) if of_start else 0.0)
        apart.append(abs(factor / 2 ** (at_s / half_life_s) - 1))
    name = f"{tag_of('DecayFactor')}, with the frame reference time read as the frame's "
    return (f"{name}{'start' if of_start else 'middle'}: apart by {max(apart):.2g} at most",)
