"""Hydra finds the launcher of rnnjax here; nothing heavy may be imported."""
