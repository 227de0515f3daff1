"""Methods side by side on a cohort: the tables of the reports."""
