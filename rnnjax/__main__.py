"""``python -m rnnjax`` is the command `rnnjax`."""

import sys

from rnnjax.cli.main import program


if __name__ == "__main__":
    sys.exit(program())
