"""What is printed: nothing that a user, a file or a library said steers it."""

import sys
from typing import Any

from rich.console import Console
from rich.text import Text

from rnnjax.errors import shown


class Screen(Console):
    """A console that shows every text, also in tables, through `errors.shown`."""

    def render_str(self, text: str, **options: Any) -> Text:
        """A text with its line ends and tabs as they are, and any number of lines."""
        return super().render_str(shown(text, "\n\t", sys.maxsize), **options)


def console() -> Screen:
    """Standard output; wide enough for tables where it is not a terminal."""
    width = None if sys.stdout.isatty() else 140
    return Screen(width=width, highlight=False, markup=False, emoji=False)


def error_screen() -> Screen:
    """Standard error, where progress and warnings go."""
    return Screen(stderr=True)
