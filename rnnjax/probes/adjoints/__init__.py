"""Adjoints ∂L/∂h_t: their norms, how fast they decay with lag, and by which law."""
