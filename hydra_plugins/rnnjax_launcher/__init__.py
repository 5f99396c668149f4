"""Hydra looks for rnnjax's launcher here; importing it must be fast."""
