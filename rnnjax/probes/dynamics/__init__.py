"""Linearised dynamics: Jacobians, their products, Lyapunov exponents."""
