"""DICOM RTSTRUCT: a region for each lesion, contours along its voxels' edges.

Without a lesion there is one region, named so, without a contour: the standard asks for a region, and an archive must
not keep an earlier run's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deeppsma.io.dicom.contours import voxel_edge_contours
from deeppsma.io.dicom.lesion_map import LesionFigures, LesionMap
from deeppsma.io.dicom.result_object import NO_LESION, ascii_text, begin, references
from deeppsma.io.dicom.result_source import Provenance, ResultSource, decimal
from deeppsma.io.dicom.write_seg import COLOURS, label_of

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

RTSTRUCT_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"
_STUDY_COMPONENT = "1.2.840.10008.3.1.2.3.1"


def structure_set(source: ResultSource, found: LesionMap, about: Provenance) -> Dataset:
    """An RTSTRUCT of a PET's lesions.

    Parameters
    ----------
    source
        The PET.
    found
        Its lesions; region n is the n-th.
    about
        Whose work.
    """
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence as Items
    from scipy.ndimage import find_objects

    out = begin(RTSTRUCT_CLASS, "RTSTRUCT", source, about, "rtstruct")
    out.StructureSetLabel = "DEEPPSMA"
    out.StructureSetName = out.SeriesDescription
    out.StructureSetDescription = ascii_text(about.notice, 1024)
    out.OperatorsName = ""
    out.ApprovalStatus = "UNAPPROVED"
    out.FrameOfReferenceUID = source.first.FrameOfReferenceUID
    out.PositionReferenceIndicator = source.first.PositionReferenceIndicator
    out.ReferencedFrameOfReferenceSequence = Items([_frame_of_reference(source)])
    regions, contours, observations = [], [], []
    boxes = find_objects(found.labels.astype(np.int32))
    for number, lesion in enumerate(found.lesions or (None,), start=1):
        regions.append(_region(number, lesion, source))
        item = Dataset()
        item.ReferencedROINumber = number
        item.ROIDisplayColor = list(COLOURS[(number - 1) % len(COLOURS)])
        if lesion is not None:
            item.ContourSequence = Items(_contours(source, found.labels, number, boxes[number - 1]))
        contours.append(item)
        observation = Dataset()
        observation.ObservationNumber = observation.ReferencedROINumber = number
        observation.RTROIInterpretedType, observation.ROIInterpreter = "", ""
        observations.append(observation)
    out.StructureSetROISequence = Items(regions)
    out.ROIContourSequence = Items(contours)
    out.RTROIObservationsSequence = Items(observations)
    return out


def _frame_of_reference(source: ResultSource) -> Dataset:
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence as Items

    series, study, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = source.first.SeriesInstanceUID
    series.ContourImageSequence = references(*source.slices)
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = _STUDY_COMPONENT, source.first.StudyInstanceUID
    study.RTReferencedSeriesSequence = Items([series])
    frame.FrameOfReferenceUID = source.first.FrameOfReferenceUID
    frame.RTReferencedStudySequence = Items([study])
    return frame


def _region(number: int, lesion: LesionFigures | None, source: ResultSource) -> Dataset:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ROINumber = number
    item.ReferencedFrameOfReferenceUID = source.first.FrameOfReferenceUID
    item.ROIName = NO_LESION if lesion is None else lesion.id
    item.ROIDescription = label_of(lesion)
    item.ROIGenerationAlgorithm = "AUTOMATIC"
    if lesion is not None:
        item.ROIVolume = decimal(lesion.volume_ml)
    return item


def _contours(
    source: ResultSource, labels: NDArray, number: int, box: tuple[slice, slice, slice] | None
) -> list[Dataset]:
    """Contours of a lesion, slice by slice, on the plane where the slice's header puts it."""
    from pydicom.dataset import Dataset

    if box is None:  # a lesion without a voxel
        return []
    axes_xyz = source.geometry.world_from_index[:3, 1:3]
    rows, columns = box[1:]
    corner = np.array([rows.start, columns.start])
    items: list[Any] = []
    for z in range(box[0].start, box[0].stop):
        for contour in voxel_edge_contours(labels[z, rows, columns] == number):
            points = source.origins_xyz[z] + (contour + corner) @ axes_xyz.T
            item = Dataset()
            item.ContourImageSequence = references(source.slices[z])
            item.ContourGeometricType = "CLOSED_PLANAR"
            item.NumberOfContourPoints = len(points)
            item.ContourNumber = len(items) + 1
            item.ContourData = [decimal(value) for value in points.ravel().tolist()]
            items.append(item)
    return items
