"""What commands print on: a console wide enough for tables, and tables that keep every letter."""

from __future__ import annotations

from typing import Any

import typer
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from pld.errors import INTERRUPTED

TABLE_WIDTH = 170


def wide_console() -> Console:
    """A console for tables; where the output is no terminal, wide enough not to cut names."""
    console = Console()
    return console if console.is_terminal else Console(width=TABLE_WIDTH)


def interrupted(console: Console) -> typer.Exit:
    """What a command that can go on ends with after Ctrl-C."""
    console.print("interrupted; the same command goes on from here")
    return typer.Exit(INTERRUPTED)


class PlainTable(Table):
    """A table that shows texts as they are: `[s]` is a unit, not rich's markup."""

    def __init__(self, *headers: str, title: str | None = None) -> None:
        super().__init__(title=None if title is None else Text(title))
        for header in headers:
            self.add_column(header)

    def add_column(self, header: RenderableType = "", *args: Any, **settings: Any) -> None:
        """Add a column; its header is not markup."""
        super().add_column(_plain(header), *args, **settings)

    def add_row(self, *cells: RenderableType | None, **settings: Any) -> None:
        """Add a row; its cells are not markup."""
        super().add_row(*(_plain(cell) for cell in cells), **settings)


def _plain(cell: Any) -> Any:
    return Text(cell) if isinstance(cell, str) else cell
