"""The console on which commands print: as wide as the terminal, or wide enough for a table."""

from __future__ import annotations

from rich.console import Console

TABLE_WIDTH = 170


def wide_console() -> Console:
    """A console for tables; where the output is no terminal, wide enough not to cut names."""
    console = Console()
    return console if console.is_terminal else Console(width=TABLE_WIDTH)
