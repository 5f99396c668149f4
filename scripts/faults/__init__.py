"""Do the tests notice faults? See `python -m scripts.faults --help`."""
