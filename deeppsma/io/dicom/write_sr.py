"""DICOM SR by template TID 1500: the figures of each lesion, beside the segment that shows it, and the totals.

What has no standard code (PSMA-TL) is under this program's own scheme, 99DEEPPSMA. Without a lesion the totals are 0,
and a comment says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deeppsma._version import __version__
from deeppsma.core.tracer import Tracer
from deeppsma.io.dicom.lesion_map import Code, LesionFigures, LesionMap
from deeppsma.io.dicom.result_object import MANUFACTURER, MODEL, NO_LESION, ascii_text, finish, series_description
from deeppsma.io.dicom.result_source import Provenance, ResultSource
from deeppsma.io.dicom.write_seg import CATEGORY, NEOPLASM, concept, tracking_uid

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_VOLUME, _SUV = Code("118565006", "SCT", "Volume"), Code("126401", "DCM", "SUVbw")
_COUNT = Code("246206008", "SCT", "Number of lesions")
_TOTAL_UPTAKE = {
    Tracer.FDG: Code("126033", "DCM", "Total Lesion Glycolysis"),
    Tracer.PSMA: Code("PSMA-TL", "99DEEPPSMA", "PSMA total lesion uptake (volume x SUVmean)"),
}
_MAX, _MEAN = Code("56851009", "SCT", "Maximum"), Code("373098007", "SCT", "Mean")
_PEAK = Code("126031", "DCM", "Peak Value Within ROI")
_ML, _SUV_UNIT = Code("ml", "UCUM", "ml"), Code("g/ml{SUVbw}", "UCUM", "SUVbw")
_GRAM, _ONE = Code("g", "UCUM", "g"), Code("1", "UCUM", "no units")
_COMMENT = Code("121106", "DCM", "Comment")
_PET_WHOLE_BODY = Code("44139-4", "LN", "PET whole body")


def measurement_report(source: ResultSource, found: LesionMap, about: Provenance, seg: Dataset) -> Dataset:
    """An SR of a PET's lesions.

    Parameters
    ----------
    source
        The PET.
    found
        Its lesions.
    about
        Whose work.
    seg
        The SEG of the same lesions: each group of figures refers to its segment.
    """
    from highdicom import sr

    device = sr.DeviceObserverIdentifyingAttributes(
        uid=source.uid(about, "device"), manufacturer_name=MANUFACTURER, model_name=MODEL, name="deeppsma"
    )
    context = sr.ObservationContext(
        observer_device_context=sr.ObserverContext(
            observer_type=concept(Code("121007", "DCM", "Device")), observer_identifying_attributes=device
        )
    )
    groups = [
        _lesion(source, found, about, seg, number, lesion) for number, lesion in enumerate(found.lesions, start=1)
    ]
    report = sr.MeasurementReport(
        observation_context=context,
        procedure_reported=concept(_PET_WHOLE_BODY),
        imaging_measurements=[*groups, _totals(source, found, about)],
        title=concept(Code("126000", "DCM", "Imaging Measurement Report")),
    )
    out = sr.Comprehensive3DSR(
        evidence=[seg],
        content=report[0],
        series_instance_uid=source.uid(about, "sr", "series"),
        series_number=1,
        sop_instance_uid=source.sop_uid(about, "sr"),
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=True,
        is_final=False,
        is_verified=False,
        series_description=series_description(source.tracer, about, "sr"),
    )
    finish(out, source, about, "sr")
    return out


def _lesion(
    source: ResultSource, found: LesionMap, about: Provenance, seg: Dataset, number: int, lesion: LesionFigures
) -> Any:
    from highdicom import sr

    measures = [_measured(_VOLUME, lesion.volume_ml, _ML)]
    for derivation, value in ((_MAX, lesion.suv_max), (_MEAN, lesion.suv_mean), (_PEAK, lesion.suv_peak)):
        measures.append(_measured(_SUV, value, _SUV_UNIT, derivation))
    measures.append(_measured(_TOTAL_UPTAKE[source.tracer], lesion.total_uptake_g, _GRAM))
    sites = None
    if lesion.site is not None:
        side = None if lesion.laterality is None else concept(lesion.laterality)
        sites = [sr.FindingSite(anatomic_location=concept(lesion.site), laterality=side)]
    group = sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=tracking_uid(source, about, lesion), identifier=lesion.id),
        referenced_segment=sr.ReferencedSegment(
            sop_class_uid=seg.SOPClassUID,
            sop_instance_uid=seg.SOPInstanceUID,
            segment_number=number,
            source_series=sr.SourceSeriesForSegmentation(source.first.SeriesInstanceUID),
        ),
        finding_type=concept(NEOPLASM),
        algorithm_id=_algorithm(found, about),
        finding_sites=sites,
        measurements=measures,
        finding_category=concept(CATEGORY),
    )
    if lesion.place:
        _comment(group, lesion.place)
    return group


def _totals(source: ResultSource, found: LesionMap, about: Provenance) -> Any:
    from highdicom import sr

    name = f"all {source.tracer.upper()} lesions"
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=source.uid(about, "totals"), identifier=name),
        finding_type=concept(NEOPLASM),
        algorithm_id=_algorithm(found, about),
        measurements=[
            _measured(_COUNT, len(found.lesions), _ONE),
            _measured(_VOLUME, found.volume_ml, _ML),
            _measured(_TOTAL_UPTAKE[source.tracer], found.total_uptake_g, _GRAM),
        ],
        finding_category=concept(CATEGORY),
    )
    said = "" if found.lesions else f"{NO_LESION} at or above SUV {found.threshold_suv:.3g}. "
    _comment(group, f"{said}{about.notice}")
    for note in about.notes:
        _comment(group, f"To know about this result: {note}")
    return group


def _measured(name: Code, value: float, unit: Code, derivation: Code | None = None) -> Any:
    from highdicom import sr

    how = None if derivation is None else concept(derivation)
    return sr.Measurement(name=concept(name), value=float(f"{value:.6g}"), unit=concept(unit), derivation=how)


def _algorithm(found: LesionMap, about: Provenance) -> Any:
    from highdicom import sr

    return sr.AlgorithmIdentification(
        name=ascii_text(f"deeppsma {about.recipe}", 64),
        version=__version__,
        parameters=[f"threshold SUV {found.threshold_suv:.6g}", ascii_text(about.notice, 1024)],
    )


def _comment(group: Any, text: str) -> None:
    """A group may hold further items: here a line of text."""
    from highdicom import sr

    item = sr.TextContentItem(
        name=concept(_COMMENT), value=ascii_text(text, 1024), relationship_type=sr.RelationshipTypeValues.CONTAINS
    )
    group[0].ContentSequence.append(item)
