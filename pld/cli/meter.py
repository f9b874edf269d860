"""Progress: a bar per stage on a terminal, lines in a file or pipe; and CPU seconds."""

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
    """pld.flywheel.stage.Meter drawn by rich; a context manager around the whole command.

    Where nobody can see a bar move, a line is printed at the beginning of each piece of work, after
    each tenth of it, and at its end.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self._progress = Progress(
            TextColumn("{task.description:<34}"),
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self.console,
            refresh_per_second=2,
            disable=not self.console.is_terminal,
        )
        self._task: TaskID | None = None
        self._title, self._total, self._tenths = "", 0, 0
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
        self._title, self._total, self._tenths = title, total, 0
        self._tell("begins")
        self._task = self._progress.add_task(title, total=total, note="")

    def update(self, completed: int, note: str = "") -> None:
        """Move the bar."""
        if self._task is not None:
            self._progress.update(self._task, completed=completed, note=note)
        tenths = 10 * completed // max(self._total, 1)
        if self._tenths < tenths < 10:
            self._tenths = tenths
            self._tell(f"{completed}/{self._total}  {note}")

    def end(self, note: str = "") -> None:
        """Leave the bar as it is, with the CPU seconds it took."""
        if self._task is not None:
            said = f"{note}  {self.cpu_s() - self._cpu_s:.0f} CPU s"
            self._progress.update(self._task, note=said)
            self._progress.stop_task(self._task)
            self._tell(f"done  {said}")

    def _tell(self, said: str) -> None:
        if not self.console.is_terminal:
            self.console.print(
                f"{self._title}: {said}", markup=False, highlight=False, soft_wrap=True
            )

    def cpu_s(self) -> float:
        """CPU seconds of this process."""
        return time.process_time()
