"""The door for nnU-Net weights: plans, architectures and preprocessing as nnU-Net v2 has them, in-process."""
