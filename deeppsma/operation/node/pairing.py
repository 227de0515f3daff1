"""Which studies make a job now: a patient's PSMA and FDG studies, both whole, near in time; or one alone, late.

Nothing is decided by the order in which images come. What a study shows is read from the headers of its PETs, by the
same rules as `deeppsma dicom inspect`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import combinations

from deeppsma.core.errors import InputError
from deeppsma.core.tracer import Tracer
from deeppsma.io.dicom.files import read_header
from deeppsma.io.dicom.header import Header
from deeppsma.io.dicom.series import SeriesFiles, check_pet_kind
from deeppsma.io.dicom.site import Site
from deeppsma.io.dicom.tracer import identify_tracer
from deeppsma.operation.node.settings import Pair
from deeppsma.operation.node.spool import StoredStudy


@dataclass(frozen=True)
class StudyFacts:
    """What pairing asks of a study.

    Parameters
    ----------
    patient, key
        Hashes.
    arrived
        When the newest image came, seconds since 1970.
    day
        StudyDate; None where it has none.
    tracers
        What its PETs show; a PET that says nothing, or contradicts itself, adds none.
    has_pet
        Whether there is a PET at all.
    complete
        Whether no static PET announces more slices than are there.
    """

    patient: str
    key: str
    arrived: float
    day: date | None
    tracers: frozenset[Tracer]
    has_pet: bool = True
    complete: bool = True


def look_at(study: StoredStudy, site: Site) -> StudyFacts:
    """Facts of a study, from the first header of each series.

    A file that cannot be read says nothing here: the job that it becomes a part of says what is wrong.
    """
    day: date | None = None
    tracers: set[Tracer] = set()
    has_pet, complete = False, True
    for files in study.series().values():
        try:
            header = read_header(files[0])
            if header is None:
                continue
            day = day or header.day("StudyDate")
            if header.text("Modality").upper() != "PT":
                continue
            has_pet = True
            complete = complete and not _announces_more(header, len(files))
            shown = _tracer(header, site)
        except InputError:
            continue
        if shown is not None:
            tracers.add(shown)
    return StudyFacts(study.patient, study.key, study.arrived, day, frozenset(tracers), has_pet, complete)


def _series(header: Header) -> SeriesFiles:
    return SeriesFiles(header.text("SeriesInstanceUID"), "PT", (header,))


def _announces_more(header: Header, there: int) -> bool:
    try:
        check_pet_kind(_series(header))
    except InputError:
        return False  # a projection, a dynamic series: its count has another meaning, and it is not used
    announced = header.number("NumberOfSlices")
    return announced is not None and there < announced


def _tracer(header: Header, site: Site) -> Tracer | None:
    return identify_tracer((header,), site.tracer_of(_series(header))).tracer


def ready_jobs(studies: Iterable[StudyFacts], rules: Pair, now: float) -> list[tuple[StudyFacts, ...]]:
    """Studies that are to be segmented together now.

    Parameters
    ----------
    studies
        All that wait, of any patients.
    rules
        The hospital's.
    now
        Seconds since 1970.

    Returns
    -------
    list of tuple of StudyFacts
        One or two studies each, no study twice; empty where all must wait on.
    """
    by_patient: dict[str, list[StudyFacts]] = {}
    for study in sorted(studies, key=lambda s: (s.arrived, s.key)):
        if study.has_pet:
            by_patient.setdefault(study.patient, []).append(study)
    jobs: list[tuple[StudyFacts, ...]] = []
    for waiting in by_patient.values():
        jobs += _of_patient(waiting, rules, now)
    return jobs


def _of_patient(waiting: Sequence[StudyFacts], rules: Pair, now: float) -> list[tuple[StudyFacts, ...]]:
    whole = [study for study in waiting if is_whole(study, rules, now)]
    jobs: list[tuple[StudyFacts, ...]] = [(study,) for study in whole if len(study.tracers) == len(Tracer)]
    taken = {job[0].key for job in jobs}
    for pair in sorted(combinations(whole, 2), key=_days_apart):  # the nearest two first
        fits = pair[0].tracers | pair[1].tracers == set(Tracer) and _days_apart(pair) <= rules.days_apart_max
        if fits and not taken & {study.key for study in pair}:
            jobs.append(pair)
            taken |= {study.key for study in pair}
    if not rules.alone:
        return jobs
    # Where the partner's images are just coming, the pair is waited for.
    coming = any(study not in whole for study in waiting)
    late = [s for s in whole if s.key not in taken and now - s.arrived >= 3600 * rules.wait_hours and not coming]
    return [*jobs, *((study,) for study in late)]


def is_whole(study: StudyFacts, rules: Pair, now: float) -> bool:
    """Whether nothing more of a study is to be waited for."""
    silent_s = now - study.arrived
    return silent_s >= (rules.quiet_s if study.complete else max(rules.quiet_s, 60 * rules.slices_wait_minutes))


def _days_apart(pair: Sequence[StudyFacts]) -> float:
    """Days between two studies; two that name no day are taken as of one."""
    first, second = (study.day for study in pair)
    return abs((first - second).days) if first and second else 0.0
