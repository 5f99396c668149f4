"""The factor of one step back through time: slopes, weights, gates, the direct path."""
