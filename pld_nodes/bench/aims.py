"""Figures against aims: one table on the screen, the same as JSON, and whether all were met."""

from __future__ import annotations

import datetime
import json
import math
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from pld.cli.screen import PlainTable

EXIT_MISSED = 3


@dataclass(frozen=True)
class Figure:
    """One measured value; `at_most` and `at_least` are aims where there are any."""

    name: str
    value: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the aim is met; None where there is none."""
        if self.at_most is None and self.at_least is None:
            return None
        low = self.at_least is None or self.value >= self.at_least
        return low and (self.at_most is None or self.value <= self.at_most)

    def aim(self) -> str:
        """The aim in words."""
        parts = []
        if self.at_most is not None:
            parts.append(f"<= {self.at_most:g}")
        if self.at_least is not None:
            parts.append(f">= {self.at_least:g}")
        return " and ".join(parts)


def told(value: float | None, unit: str) -> str:
    """A value with its unit: counts exactly, anything else to four places; None was not seen."""
    if value is None:
        return "not seen"
    is_count = not unit and float(value).is_integer()
    return f"{int(value):,}" if is_count else f"{value:.4g} {unit}".rstrip()


def report(title: str, figures: Sequence[Figure], console: Console, json_path: Path | None) -> bool:
    """Print and save the figures; True when every aim is met."""
    table = PlainTable("figure", "value", "aim", "met", title=title)
    for figure in figures:
        verdict = {None: "", True: "yes", False: "NO"}[figure.met]
        table.add_row(figure.name, told(figure.value, figure.unit), figure.aim(), verdict)
    console.print(table)
    if json_path is not None:
        json_path.parent.mkdir(parents=True, exist_ok=True)
        document = {
            "title": title,
            "command": shlex.join(["pld", *arguments_without_json(sys.argv[1:])]),
            "machine": machine(),
            "figures": [_as_json(f) for f in figures],
        }
        json_path.write_text(json.dumps(document, indent=1) + "\n")
    return all(figure.met is not False for figure in figures)


def _as_json(figure: Figure) -> dict[str, object]:
    """`figure` with null for what was not seen: JSON has no NaN."""
    value = figure.value if math.isfinite(figure.value) else None
    return asdict(figure) | {"value": value, "met": figure.met, "aim": figure.aim()}


def machine() -> dict[str, object]:
    """What the figures were measured on, and how busy it was."""
    return {
        "date": datetime.date.today().isoformat(),
        "cores": os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 2),
        "processor": platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def arguments_without_json(arguments: Sequence[str]) -> list[str]:
    """The command line as somebody else would type it: without where the JSON went."""
    kept, skip = [], False
    for argument in arguments:
        if not skip and argument != "--json":
            kept.append(argument)
        skip = argument == "--json"
    return kept
