"""Synthetic patients with both tracers, for training, tests and demonstrations."""
