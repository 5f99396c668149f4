"""What several figures share: set-ups, sweeps, learning curves, cells."""
