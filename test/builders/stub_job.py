"""In place of ``deeppsma segment IMAGES OUT``: an object per study, with UIDs of chance, so that a second set shows.

How it behaves is written in PatientComments of the images: "fail", "refuse", "crash", "nothing", "slow".
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

SEG_CLASS = "1.2.840.10008.5.1.4.1.1.66.4"


def main(images: Path, out: Path) -> int:
    heads = {}
    for path in sorted(images.rglob("*.dcm")):
        head = dcmread(path, stop_before_pixels=True)
        heads.setdefault(head.StudyInstanceUID, head)
    behaviour = next(iter(heads.values())).get("PatientComments", "")
    print("reads SECRET^NAME", file=sys.stderr)
    if behaviour == "fail":
        print("deeppsma: error: something fails", file=sys.stderr)
        return 1
    if behaviour == "refuse":
        print("deeppsma: error: images: cannot be used; send others", file=sys.stderr)
        return 2
    if behaviour == "crash":
        os.abort()
    if behaviour == "slow":
        time.sleep(30)
    for number, head in enumerate(heads.values()):
        place = out / "dicom" / str(number)
        place.mkdir(parents=True)
        for kind in ("seg", "sr"):
            result = Dataset()
            result.file_meta = FileMetaDataset()
            result.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            result.SOPClassUID = result.file_meta.MediaStorageSOPClassUID = SEG_CLASS
            result.SOPInstanceUID = result.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            result.StudyInstanceUID, result.SeriesInstanceUID = head.StudyInstanceUID, generate_uid()
            result.PatientID, result.PatientName, result.Modality = head.PatientID, head.PatientName, "SEG"
            result.ContentLabel = kind.upper()
            result.StudyDescription = f"{len(heads)} studies"
            if behaviour != "nothing":
                result.save_as(place / f"{kind}.dcm", enforce_file_format=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
