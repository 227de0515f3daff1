"""Choices that the command line offers: it starts without loading what stands behind them."""

DEFAULT_RECIPE = "second_opinion"
#: What the CDS team submitted; folds and fits of one's own are scored with it.
SUBMITTED_RECIPE = "bothways"
#: Those of the CDS report.
CDS_RECIPES = ("single", "single_plus", "bothways", "bothways_plus", "ensemble")
DEVICES = ("auto", "cuda", "cpu", "openvino")
#: In which probabilities may be written.
PROBABILITY_SUFFIXES = (".nii.gz", ".mha")
#: DICOM objects that a result can be written as, in the order of their series numbers; and those that a case of DICOM
#: files gets unless told.
DICOM_KINDS = ("seg", "rtstruct", "sr", "capture", "pdf")
DICOM_DEFAULT = ("seg", "rtstruct", "sr")


def dicom_kinds(text: str) -> tuple[str, ...]:
    """Kinds of DICOM objects by a list with commas; none for "none"."""
    return () if text.strip() == "none" else tuple(kind.strip() for kind in text.split(","))
