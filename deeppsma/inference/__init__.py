"""Run networks on spaces: device, sliding windows, ensembles."""
