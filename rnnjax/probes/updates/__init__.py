"""What becomes of a gradient: clipped, truncated, turned into an update."""
