"""Adjoints ∂L/∂h_t: their norms, how they decay with lag, and by which law."""
