"""Odd models, files and command lines: right, refused, or wrong."""
