"""Choices that the command line offers: it starts without loading what stands behind them."""

DEFAULT_RECIPE = "bothways"
#: Those of the CDS report.
CDS_RECIPES = ("single", "single_plus", "bothways", "bothways_plus", "ensemble")
DEVICES = ("auto", "cuda", "cpu")
#: In which probabilities may be written.
PROBABILITY_SUFFIXES = (".nii.gz", ".mha")
