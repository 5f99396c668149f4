"""The factor of one step of back-propagation: slopes, weights, gates, direct path."""
