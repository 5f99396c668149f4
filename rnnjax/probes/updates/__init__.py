"""What happens to a gradient: clipping, truncation, and the resulting update."""
