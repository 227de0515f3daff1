"""The one pipeline: a recipe on a case, from headers to masks and run report."""
