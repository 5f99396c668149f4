"""Terminal output; text from users, files and libraries cannot control it."""

import sys
from typing import Any

from rich.console import Console
from rich.text import Text

from rnnjax.errors import shown


class Screen(Console):
    """A console that passes every text, also in tables, through `errors.shown`."""

    def render_str(self, text: str, **options: Any) -> Text:
        """The text made safe; line ends and tabs are kept, and no line is dropped."""
        return super().render_str(shown(text, "\n\t", sys.maxsize), **options)


def console() -> Screen:
    """A console for standard output; 140 columns wide if it is not a terminal."""
    width = None if sys.stdout.isatty() else 140
    return Screen(width=width, highlight=False, markup=False, emoji=False)


def error_screen() -> Screen:
    """A console for standard error, where progress and warnings go."""
    return Screen(stderr=True)
