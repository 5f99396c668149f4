"""One module per figure: tables in, a `Drawing` out, or None if there is no data."""
