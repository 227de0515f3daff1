"""Files in and out: a case in any layout, images, transforms, results. Nothing is computed here."""
