"""Jobs that are governed, on a real node."""
