"""``python -m rnnjax`` is the command `rnnjax`."""

from rnnjax.cli.main import process


if __name__ == "__main__":
    process()
