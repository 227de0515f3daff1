"""What everything stands on: grids, transforms, resampling, anatomy, settings, errors. Imports nothing above it."""
