"""Hold masks against ground truth: metrics, scoring, cross-validation, the reports' tables."""
