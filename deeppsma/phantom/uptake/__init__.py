"""What takes up the tracers: physiology, disease, pitfalls."""
