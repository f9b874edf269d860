"""`pld bag replay BAG`: play a bag for viewing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def replay(
    folder: Annotated[Path, typer.Argument(help="an episode's folder, or its .mcap")],
    rate: Annotated[float, typer.Option(help="times the pace of recording")] = 1.0,
    start: Annotated[float, typer.Option(help="seconds to skip")] = 0.0,
) -> None:
    """Play a bag for viewing below /replay; no command of it can reach an arm."""
    from pld_nodes.replay import replay as play

    typer.echo(f"{play(folder, rate, start)} messages published")
