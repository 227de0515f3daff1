"""DICOM in: files, series, SUV, tracer, the choice of images, and the case made of them."""
