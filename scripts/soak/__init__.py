"""Long attacks on what rnnjax promises of its files; see ``RELIABILITY.md``."""
