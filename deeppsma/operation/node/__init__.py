"""A node in the hospital's network: studies come in by DICOM, results go back; what waits lies on the disk."""
