"""From logits to masks: fusion, region growing, lesions, refinement."""
