"""Choices that the command line offers: it starts without loading what stands behind them."""

DEFAULT_RECIPE = "second_opinion"
#: What the CDS team submitted; folds and fits of one's own are scored with it.
SUBMITTED_RECIPE = "bothways"
#: Those of the CDS report.
CDS_RECIPES = ("single", "single_plus", "bothways", "bothways_plus", "ensemble")
DEVICES = ("auto", "cuda", "cpu")
#: In which probabilities may be written.
PROBABILITY_SUFFIXES = (".nii.gz", ".mha")
