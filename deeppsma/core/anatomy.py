"""Label numbers of TotalSegmentator v2, task "total", and groups of them.

Source: the class map of TotalSegmentator 2.4 (117 classes, 1 to 117; 0 is
everything else). Only the labels that this package names are listed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.errors import InputError

LABEL_MAX = 117

SPLEEN = 1
KIDNEY_RIGHT, KIDNEY_LEFT = 2, 3
GALLBLADDER = 4
LIVER = 5
STOMACH = 6
PANCREAS = 7
ADRENAL_RIGHT, ADRENAL_LEFT = 8, 9
LUNG_UPPER_LEFT, LUNG_LOWER_LEFT = 10, 11
LUNG_UPPER_RIGHT, LUNG_MIDDLE_RIGHT, LUNG_LOWER_RIGHT = 12, 13, 14
OESOPHAGUS, TRACHEA, THYROID = 15, 16, 17
SMALL_BOWEL, DUODENUM, COLON = 18, 19, 20
BLADDER, PROSTATE = 21, 22
KIDNEY_CYST_LEFT, KIDNEY_CYST_RIGHT = 23, 24
SACRUM = 25
#: S1, L5 to L1, T12 to T1, C7 to C1: labels 26 to 50, from below.
VERTEBRAE = tuple(range(26, 51))
VERTEBRA_NAMES = (
    "S1",
    *(f"L{i}" for i in range(5, 0, -1)),
    *(f"T{i}" for i in range(12, 0, -1)),
    *(f"C{i}" for i in range(7, 0, -1)),
)
HEART, AORTA = 51, 52
PULMONARY_VEIN, BRACHIOCEPHALIC_TRUNK = 53, 54
SUBCLAVIAN_RIGHT, SUBCLAVIAN_LEFT, CAROTID_RIGHT, CAROTID_LEFT = 55, 56, 57, 58
BRACHIOCEPHALIC_VEIN_LEFT, BRACHIOCEPHALIC_VEIN_RIGHT, ATRIAL_APPENDAGE = 59, 60, 61
SUPERIOR_VENA_CAVA, INFERIOR_VENA_CAVA, PORTAL_VEIN = 62, 63, 64
ILIAC_ARTERY_LEFT, ILIAC_ARTERY_RIGHT, ILIAC_VEIN_LEFT, ILIAC_VEIN_RIGHT = 65, 66, 67, 68
HUMERUS_LEFT, HUMERUS_RIGHT = 69, 70
SCAPULA_LEFT, SCAPULA_RIGHT = 71, 72
CLAVICLE_LEFT, CLAVICLE_RIGHT = 73, 74
FEMUR_LEFT, FEMUR_RIGHT = 75, 76
HIP_LEFT, HIP_RIGHT = 77, 78
SPINAL_CORD = 79
GLUTEUS_MAXIMUS_LEFT, GLUTEUS_MAXIMUS_RIGHT = 80, 81
GLUTEUS_MEDIUS_LEFT, GLUTEUS_MEDIUS_RIGHT = 82, 83
GLUTEUS_MINIMUS_LEFT, GLUTEUS_MINIMUS_RIGHT = 84, 85
AUTOCHTHON_LEFT, AUTOCHTHON_RIGHT = 86, 87
ILIOPSOAS_LEFT, ILIOPSOAS_RIGHT = 88, 89
BRAIN, SKULL = 90, 91
#: First rib first.
RIBS_LEFT = tuple(range(92, 104))
RIBS_RIGHT = tuple(range(104, 116))
STERNUM, COSTAL_CARTILAGE = 116, 117

#: The PaIRe report's eight classes, in its order (section 2.2).
ORGAN_CLASSES = {
    "spleen": (SPLEEN,),
    "kidney": (KIDNEY_RIGHT, KIDNEY_LEFT),
    "liver": (LIVER,),
    "lung": tuple(range(LUNG_UPPER_LEFT, LUNG_LOWER_RIGHT + 1)),
    "brain": (BRAIN,),
    "bladder": (BLADDER,),
    "bones": (
        SACRUM,
        *VERTEBRAE,
        *range(HUMERUS_LEFT, HIP_RIGHT + 1),
        SKULL,
        *RIBS_LEFT,
        *RIBS_RIGHT,
        STERNUM,
    ),
    "thyroid": (THYROID,),
}

#: Labels whose organs take up alike: pairs, rows, lobes, vessels, muscles. Any other label is a kind of its own.
FAMILIES = (
    (KIDNEY_RIGHT, KIDNEY_LEFT),
    (ADRENAL_RIGHT, ADRENAL_LEFT),
    tuple(range(LUNG_UPPER_LEFT, LUNG_LOWER_RIGHT + 1)),
    (KIDNEY_CYST_LEFT, KIDNEY_CYST_RIGHT),
    (SACRUM, *VERTEBRAE),
    (AORTA, *range(PULMONARY_VEIN, ILIAC_VEIN_RIGHT + 1)),
    (HUMERUS_LEFT, HUMERUS_RIGHT),
    (SCAPULA_LEFT, SCAPULA_RIGHT),
    (CLAVICLE_LEFT, CLAVICLE_RIGHT),
    (FEMUR_LEFT, FEMUR_RIGHT),
    (HIP_LEFT, HIP_RIGHT),
    tuple(range(GLUTEUS_MAXIMUS_LEFT, ILIOPSOAS_RIGHT + 1)),
    (*RIBS_LEFT, *RIBS_RIGHT),
)


def _family_of_label() -> NDArray[np.uint8]:
    of_label = np.arange(LABEL_MAX + 1, dtype=np.uint8)
    for family in FAMILIES:
        of_label[list(family)] = family[0]
    return of_label


#: By label: the first label of its kind.
FAMILY_OF_LABEL = _family_of_label()


def check_labels(labels: NDArray, where: Path | str) -> None:
    """Refuse an organ map with anything but whole numbers from 0 to 117.

    Raises
    ------
    InputError
        Names the value found.
    """
    remedy = "give TotalSegmentator's multi-label map, task 'total' (117 classes)"
    # Slice by slice: a map of a whole-body CT in double precision is large enough once.
    if labels.dtype.kind == "f" and any((plane != np.rint(plane)).any() for plane in labels):
        raise InputError(where, "organ labels that are not whole numbers", remedy)
    low, high = labels.min(), labels.max()
    if low < 0 or high > LABEL_MAX:
        raise InputError(where, f"organ labels from {low:g} to {high:g}, not within 0 to {LABEL_MAX}", remedy)
