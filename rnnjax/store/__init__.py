"""What a run leaves behind: identities, run directories, the pool, checkpoints.

Nothing here knows of cells or training; a configuration is a plain nested mapping.
"""
