"""DICOM SEG: one binary segment for each lesion, on the PET's own slices.

Without a lesion there is one segment, named so, whose frames are empty: a SEG must have a segment, and an archive must
not keep an earlier run's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from deeppsma._version import __version__
from deeppsma.io.dicom.lesion_map import Code, LesionFigures, LesionMap
from deeppsma.io.dicom.result_object import MANUFACTURER, MODEL, NO_LESION, ascii_text, finish
from deeppsma.io.dicom.result_source import Provenance, ResultSource

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

CATEGORY = Code("49755003", "SCT", "Morphologically Abnormal Structure")
NEOPLASM = Code("108369006", "SCT", "Neoplasm")
#: Outlines' colours in turn, RGB; neighbours differ.
COLOURS = ((230, 60, 60), (60, 180, 75), (255, 200, 25), (70, 110, 240), (245, 130, 48), (70, 220, 230), (240, 50, 230))


def segmentation(source: ResultSource, found: LesionMap, about: Provenance) -> Dataset:
    """A SEG of a PET's lesions.

    Parameters
    ----------
    source
        The PET.
    found
        Its lesions; segment n is the n-th.
    about
        Whose work.
    """
    from highdicom.seg import Segmentation

    places = found.slices()
    within = slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(None)
    kind = np.uint8 if len(found.lesions) < 256 else np.uint16
    out = Segmentation(
        source_images=source.slices[within],
        pixel_array=found.labels[within].astype(kind),
        segmentation_type="BINARY",
        segment_descriptions=_segments(source, found, about),
        series_instance_uid=source.uid(about, "seg", "series"),
        series_number=1,
        sop_instance_uid=source.sop_uid(about, "seg"),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL,
        software_versions=__version__,
        device_serial_number="none",
        omit_empty_frames=bool(len(places)),
        content_label="LESIONS" if found.lesions else "NO_LESION",
        content_description=ascii_text(f"{len(found.lesions)} lesions, not for clinical use", 64),
        content_creator_name="deeppsma^",
    )
    finish(out, source, about, "seg")
    dimensions = source.uid(about, "seg", "dimensions")
    for item in (*out.DimensionOrganizationSequence, *out.DimensionIndexSequence):
        item.DimensionOrganizationUID = dimensions
    return out


def _segments(source: ResultSource, found: LesionMap, about: Provenance) -> list[Any]:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentDescription

    algorithm = AlgorithmIdentificationSequence(
        name=ascii_text(f"deeppsma {about.recipe}", 64),
        family=concept(Code("123110", "DCM", "Artificial Intelligence")),
        version=__version__,
        source=MANUFACTURER,
        parameters={"notice": ascii_text(about.notice, 1024)},
    )
    described = []
    for number, lesion in enumerate(found.lesions or (None,), start=1):
        described.append(
            SegmentDescription(
                segment_number=number,
                segment_label=label_of(lesion),
                segmented_property_category=concept(CATEGORY),
                segmented_property_type=concept(NEOPLASM),
                algorithm_type="SEMIAUTOMATIC" if about.reviewed else "AUTOMATIC",
                algorithm_identification=algorithm,
                tracking_uid=None if lesion is None else tracking_uid(source, about, lesion),
                tracking_id=None if lesion is None else lesion.id,
                anatomic_regions=None if lesion is None or lesion.site is None else [concept(lesion.site)],
                display_color=CIELabColor.from_rgb(*COLOURS[(number - 1) % len(COLOURS)]),
            )
        )
        if lesion is not None and lesion.place:
            described[-1].SegmentDescription = ascii_text(lesion.place, 1024)
    return described


def label_of(lesion: LesionFigures | None) -> str:
    """A segment's or ROI's name: number and place; 64 characters."""
    if lesion is None:
        return NO_LESION
    return ascii_text(f"{lesion.id} {lesion.place}".strip(), 64)


def tracking_uid(source: ResultSource, about: Provenance, lesion: LesionFigures) -> str:
    """What is one and the same for a lesion in SEG and SR, before a review and after it."""
    return source.uid(replace(about, reviewed=False), "lesion", lesion.id)


def concept(of: Code) -> Any:
    """A code as highdicom has it."""
    from highdicom.sr import CodedConcept

    return CodedConcept(value=of.value, scheme_designator=of.scheme, meaning=of.meaning)
