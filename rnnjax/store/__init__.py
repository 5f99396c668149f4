"""What runs leave on disk: run ids, run directories, the pool, checkpoints.

Nothing here depends on cells or training; a configuration is a plain nested mapping.
"""
