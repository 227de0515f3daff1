"""An organ map as DICOM SEG: segments named as TotalSegmentator names its classes, as one label map.

Read are binary segmentations and label maps. A segment counts if its label is a class of TotalSegmentator's task
"total" (``resources/dicom/organs.toml``), in any spelling of case, blanks and underscores.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from deeppsma.core.errors import ConfigurationError, InputError
from deeppsma.core.geometry import Geometry
from deeppsma.core.settings import read_toml
from deeppsma.core.volume import Volume
from deeppsma.io.dicom.header import DAMAGE, Header
from deeppsma.io.dicom.series import SeriesFiles
from deeppsma.io.dicom.slices import STEP_TOLERANCE_MM, STEP_TOLERANCE_SHARE

_EXPORT = "export the organ map again, or give it as a NIfTI file"
#: A map of fewer organs is a segmentation of something else.
ORGANS_MIN = 3


@dataclass(frozen=True)
class OrganMap:
    """A DICOM SEG of organs, as an image source.

    Parameters
    ----------
    header
        Of its one file, without pixels.
    labels
        TotalSegmentator's number by segment number.
    frame_of_reference
        FrameOfReferenceUID.
    """

    header: Header
    labels: dict[int, int]
    frame_of_reference: str

    @property
    def path(self) -> Path:
        """The file."""
        return self.header.path

    @property
    def unsaid_position(self) -> str | None:
        """None: frames without a position are refused."""
        return None

    @property
    def geometry(self) -> Geometry:
        """Grid that holds all frames; rows without a frame are background."""
        return self._grid()[0]

    def _grid(self) -> tuple[Geometry, list[int], list[int]]:
        """Grid, and slice and segment number of each frame (0: a label map's frame)."""
        shared_groups = self.header.items("SharedFunctionalGroupsSequence")
        frames = self.header.items("PerFrameFunctionalGroupsSequence")
        if not shared_groups or not frames:
            raise self.header.refuse("PerFrameFunctionalGroupsSequence", "is missing", _EXPORT)

        def of(frame: Header, group: str, keyword: str) -> tuple[float, ...]:
            items = frame.items(group) or shared_groups[0].items(group)
            values = items[0].numbers(keyword) if items else ()
            if not values:
                raise self.header.refuse(keyword, "is missing in a frame", _EXPORT)
            return values

        cosines = np.array(of(frames[0], "PlaneOrientationSequence", "ImageOrientationPatient"))
        spacing = of(frames[0], "PixelMeasuresSequence", "PixelSpacing")
        normal = np.cross(cosines[:3], cosines[3:])
        positions = np.array([of(frame, "PlanePositionSequence", "ImagePositionPatient") for frame in frames])
        along = positions @ normal
        unique = np.unique(np.round(along, 3))
        if len(unique) < 2:
            raise self.header.refuse("ImagePositionPatient", "is the same in all frames", _EXPORT)
        step = float(np.median(np.diff(unique)))
        places = (along - unique[0]) / step
        index = np.rint(places).astype(int)
        limit = (STEP_TOLERANCE_MM + STEP_TOLERANCE_SHARE * step) * max(1, len(unique) // 10) / step
        if np.abs(places - index).max() > min(limit, 0.25):
            raise self.header.refuse("ImagePositionPatient", "is not in equal steps", _EXPORT)
        rows, columns = (int(self.header.number(keyword) or 0) for keyword in ("Rows", "Columns"))
        origin = positions[int(np.argmin(along))]
        geometry = Geometry(
            (int(index.max()) + 1, rows, columns),
            (step, spacing[0], spacing[1]),
            (float(origin[0]), float(origin[1]), float(origin[2])),
            tuple(np.column_stack([cosines[:3], cosines[3:], normal]).ravel().tolist()),
        )
        segments = []
        for frame in frames:
            items = frame.items("SegmentIdentificationSequence")
            segments.append(int(items[0].number("ReferencedSegmentNumber") or 0) if items else 0)
        return geometry, index.tolist(), segments

    def read(self, dtype: type[np.float32] | None = None) -> Volume:
        """Labels, uint8 unless float32 is asked for; 0 where no organ is.

        Raises
        ------
        InputError
            If the file is damaged.
        """
        from pydicom import dcmread
        from pydicom.errors import InvalidDicomError

        geometry, index, segments = self._grid()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                pixels = dcmread(self.path).pixel_array
        except (*DAMAGE, RuntimeError, InvalidDicomError):
            raise InputError(self.path, "pixels cannot be decoded", _EXPORT) from None
        pixels = pixels.reshape(-1, *geometry.shape_zyx[1:])
        if len(pixels) != len(index):
            raise InputError(self.path, f"{len(pixels)} frames of pixels, {len(index)} described", _EXPORT)
        voxels = np.zeros(geometry.shape_zyx, dtype=np.uint8)
        is_map = self.header.text("SegmentationType").upper() == "LABELMAP"
        table = np.zeros(max([*self.labels, int(pixels.max()) if is_map else 0]) + 1, dtype=np.uint8)
        table[list(self.labels)] = list(self.labels.values())
        for frame, z, segment in zip(pixels, index, segments, strict=True):
            if is_map:
                voxels[z] = np.maximum(voxels[z], table[frame])
            elif segment in self.labels:
                voxels[z][frame > 0] = self.labels[segment]
        return Volume(voxels.astype(dtype) if dtype is not None else voxels, geometry)


def open_organ_map(files: SeriesFiles) -> OrganMap:
    """A SEG whose segments are organs.

    Raises
    ------
    InputError
        If it is fractional, of several files, or of something else than organs.
    """
    header = files.first
    if len(files.headers) != 1:
        raise InputError(header.path, f"a SEG series of {len(files.headers)} files", "give one organ map per session")
    if header.text("SegmentationType").upper() not in ("BINARY", "LABELMAP"):
        raise header.refuse("SegmentationType", f"is {header.text('SegmentationType') or 'missing'}", _EXPORT)
    labels = {}
    known = {plain_name(name): number for name, number in organ_numbers().items()}
    for item in header.items("SegmentSequence"):
        label = known.get(plain_name(item.text("SegmentLabel")))
        number = item.number("SegmentNumber")
        if label is not None and number is not None:
            labels[int(number)] = label
    if len(labels) < ORGANS_MIN:
        found = f"a SEG with {len(labels)} segments named as TotalSegmentator's classes"
        raise InputError(header.path, found, "not an organ map; nothing to do if it is none")
    return OrganMap(header, labels, header.text("FrameOfReferenceUID"))


def plain_name(name: str) -> str:
    """A class's name in small letters, words joined by underscores."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


@cache
def organ_numbers() -> dict[str, int]:
    """Label numbers of TotalSegmentator's task "total" by class name.

    Raises
    ------
    ConfigurationError
        If the table makes no sense.
    """
    path, content = read_toml("dicom", "organs")
    names = content.get("names", [])
    if len(set(names)) != len(names) or not names:
        raise ConfigurationError(path, "no list of different names", "mend the table of organs")
    return {name: number for number, name in enumerate(names, 1)}
