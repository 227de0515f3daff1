"""Measurements that are run by hand; see ``python -m benchmarks.pipeline --help``."""
