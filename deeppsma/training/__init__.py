"""From cohorts to frozen weights."""
