"""A progress bar per stage on the terminal, and the process's CPU seconds."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class RichMeter:
    """pld.flywheel.stage.Meter drawn by rich; a context manager around the whole command."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self._progress = Progress(
            TextColumn("{task.description:<38}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self.console,
            refresh_per_second=2,
        )
        self._task: TaskID | None = None
        self._cpu_s = 0.0

    def __enter__(self) -> RichMeter:
        """Start drawing."""
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop drawing, whatever happened."""
        self._progress.stop()

    def begin(self, title: str, total: int) -> None:
        """Draw a new bar."""
        self._cpu_s = self.cpu_s()
        self._task = self._progress.add_task(title, total=total, note="")

    def update(self, completed: int, note: str = "") -> None:
        """Move the bar."""
        if self._task is not None:
            self._progress.update(self._task, completed=completed, note=note)

    def end(self, note: str = "") -> None:
        """Leave the bar as it is, with the CPU seconds it took."""
        if self._task is not None:
            spent = self.cpu_s() - self._cpu_s
            self._progress.update(self._task, note=f"{note}  {spent:.0f} CPU s")
            self._progress.stop_task(self._task)

    def cpu_s(self) -> float:
        """CPU seconds of this process."""
        return time.process_time()
