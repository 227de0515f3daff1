"""What the page's viewer shows: volumes on one small grid, packed for a browser."""
