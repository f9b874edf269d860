"""Trials of `pld bench safety` as rows: on the screen, as JSON, and as a section of a page."""

from __future__ import annotations

import json
import math
import shlex
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from pld.cli.screen import PlainTable
from pld.errors import ConfigError
from pld.files import read_json
from pld_nodes.bench.aims import arguments_without_json, machine
from pld_nodes.bench.safety_faults import Fault
from pld_nodes.bench.safety_session import NORMAL, Trial

BEGIN, END = "<!-- pld bench safety: begin -->", "<!-- pld bench safety: end -->"
COLUMNS = (
    "fault", "trials", "detected", "held", "to hold p50 [ms]", "p99 [ms]", "max [ms]",
    "moved on", "travel max [mm]", "false stops", "bar met",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """All trials of one fault; times in ms of robot time, None where nothing held.

    `moved_on`: commands to move that were executed after the hold; None where they may be.
    `stop_causes`: what the false stops were, and how often.
    """

    fault: str
    trials: int
    detected: int
    held: int
    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    travel_max_mm: float | None
    quiet_s: float
    false_stops: int
    met: bool
    moved_on: int | None = None
    stop_causes: Mapping[str, int] = field(default_factory=dict)

    def cells(self) -> list[str]:
        """The row's texts in the order of COLUMNS."""
        times = [_number(v, ".0f") for v in (self.p50_ms, self.p99_ms, self.max_ms)]
        travel = _number(self.travel_max_mm, ".1f")
        verdict = "yes" if self.met else "**no**"
        if self.met and not self.detected and self.quiet_s < MIN_QUIET_S:
            verdict = "too short to say"
        counts = [str(v) for v in (self.trials, self.detected, self.held)]
        moved_on = "" if self.moved_on is None else str(self.moved_on)
        causes = ", ".join(f"{name} {count}" for name, count in self.stop_causes.items())
        stops = f"{self.false_stops} ({causes})" if causes else str(self.false_stops)
        return [self.fault, *counts, *times, moved_on, travel, stops, verdict]


MIN_QUIET_S = 60.0
"""Robot time below which the absence of a hold says nothing."""
WATCHED = 0.99
"""Share of the time asked for that must have been watched: a run that ended early says nothing."""


def hold_bar_ms(rate_hz: float) -> float:
    """By when the arm must hold after a fault: 100 ms or two control periods, the longer one.

    At 10 Hz a silence cannot be told from a command that is on its way before a period is over.
    """
    return max(100.0, 2e3 / rate_hz)


def rows(faults: Sequence[Fault], trials: Sequence[Trial], rate_hz: float) -> list[Row]:
    """One row per fault, in the order of the table of faults; what was not tried meets no bar."""
    return [
        _row(fault, [t for t in trials if t.fault == fault.name], hold_bar_ms(rate_hz))
        for fault in faults
    ]


def _row(fault: Fault, trials: list[Trial], bar_ms: float) -> Row:
    times = np.array([t.to_hold_ms for t in trials if not math.isnan(t.to_hold_ms)])
    spread = [float(v) for v in np.percentile(times, (50, 99, 100))] if len(times) else [None] * 3
    travels = [t.travel_mm for t in trials if not math.isnan(t.travel_mm)]
    detected, false_stops = sum(t.detected for t in trials), sum(t.false_stops for t in trials)
    quiet_s = sum(t.quiet_s for t in trials)
    if fault.moves:
        wanted = detected == len(trials) if fault.causes else quiet_s >= WATCHED * fault.window_s
        met = len(times) == 0 and len(trials) > 0 and wanted
    else:
        met = 0 < len(trials) == detected == len(times) and float(times.max()) <= bar_ms
    moved_on = sum(t.moved_on for t in trials)
    return Row(
        fault.name,
        len(trials),
        detected,
        len(times),
        *spread,
        max(travels) if travels else None,
        quiet_s,
        false_stops,
        met and false_stops == 0 and moved_on == 0,
        moved_on if fault.is_final else None,
        dict(Counter(cause for t in trials for cause in t.stop_causes)),
    )


def show(found: Sequence[Row], console: Console) -> None:
    """Print the table."""
    table = PlainTable(*COLUMNS, title="faults injected into the graph on the twin, robot time")
    for row in found:
        table.add_row(*(cell.replace("*", "") for cell in row.cells()))
    console.print(table)


def all_tried(found: Sequence[Row], trials: int, console: Console) -> bool:
    """Whether each fault was injected `trials` times; those that were not are printed."""
    lacking = [row for row in found if row.trials < (1 if row.fault == NORMAL else trials)]
    for row in lacking:
        console.print(f"{row.fault}: {row.trials} trials of {trials} came about", markup=False)
    return not lacking


def save(found: Sequence[Row], path: Path) -> None:
    """Write the rows, the command and the machine as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "command": shlex.join(["pld", *arguments_without_json(sys.argv[1:])]),
        "machine": machine(),
        "rows": [asdict(row) for row in found],
    }
    path.write_text(json.dumps(document, indent=1) + "\n")


def section(document: dict[str, Any]) -> str:
    """The page's section from a saved document."""
    found = [Row(**row) for row in document["rows"]]
    host = document["machine"]
    lines = [
        f"`{document['command']}`  ",
        f"{host.get('date', 'date not kept')}, {sum(row.trials for row in found)} trials on "
        f"{host['cores']} cores, load "
        f"{host['load_1min']} at the end, Python {host['python']}; "
        f"{sum(row.quiet_s for row in found):.0f} s watched without a fault.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        "|" + "---|" * len(COLUMNS),
        *(f"| {' | '.join(row.cells())} |" for row in found),
    ]
    return "\n".join(lines)


def load(path: Path) -> dict[str, Any]:
    """What `save` wrote; raises ConfigError for any other file."""
    content = read_json(path)
    if not isinstance(content, dict) or not {"command", "machine", "rows"} <= set(content):
        raise ConfigError(f"{str(path)!r} was not written by `pld bench safety --json FILE`")
    return content


def write_into(page: Path, documents: Sequence[dict[str, Any]]) -> None:
    """Put a section per document between the page's two marks; ConfigError without them."""
    if not page.is_file():
        raise ConfigError(f"{str(page)!r} is not there; give the page with --page")
    text = page.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ConfigError(f"{page}: expected one {BEGIN!r} and one {END!r}")
    head, rest = text.split(BEGIN)
    sections = "\n\n".join(section(document) for document in documents)
    page.write_text(f"{head}{BEGIN}\n{sections}\n{END}{rest.split(END)[1]}")


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
