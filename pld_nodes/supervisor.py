"""Runs the process table where there is no `ros2 launch`: ordered start, watch, ordered stop.

A process that ends when it should not ends the run: the reason is written to
`termination.json` in the run folder before anybody is told to stop, so that the recorder can
close the episode with it. Policy sources stop before safety, safety before the driver.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pld.errors import INTERRUPTED, PldError
from pld.recording.run_files import note_termination
from pld.twin.control import SOCKET_NAME
from pld_nodes.dds_memory import remove_stale_segments
from pld_nodes.graph import OnExit, Process
from pld_nodes.processes import Child, start

POLL_S = 0.01
STARTUP_S = 60.0
GRACE_S = {"recorder_node": 20.0, "learner_node": 60.0}
"""Who writes a bag or a checkpoint to its end; everybody else has 5 s."""
TOLD = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
ENDED_WELL = (0, *(-number for number in TOLD), *(128 + number for number in TOLD))
STOP_ORDER = (
    ("arbitrator_node", "vla_node", "reward_node"),
    ("recorder_node",),
    ("safety_node",),
    ("franka_node",),
)
READY_FILES = {"twin": SOCKET_NAME}
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, a polite end, and a terminal that is gone end a run alike."""


def _is_ignored(number: signal.Signals) -> bool:
    """Whether whoever started this asked that a lost terminal ends nothing (nohup)."""
    return number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN


class RunFailedError(PldError):
    """A process of the run ended when it should not."""


@dataclass
class Supervisor:
    """Starts the rows in order, watches them, and leaves nobody behind.

    `commands` maps a process name to its command line; `say(name, line)` receives every line of
    output. `twin_dir` is where the twin's programs say that they are ready.
    """

    rows: Sequence[Process]
    commands: dict[str, list[str]]
    run_dir: Path
    twin_dir: Path | None
    say: Callable[[str, str], None]
    children: list[Child] = field(default_factory=list)
    stop_requested: bool = False

    def run(self) -> int:
        """Run to the end; 0 when the run finished, INTERRUPTED, else RunFailedError.

        1 when it finished and somebody failed to write to the end.
        """
        (self.run_dir / "logs").mkdir(parents=True, exist_ok=True)
        remove_stale_segments()
        previous = {n: signal.signal(n, self._interrupt) for n in ENDING if not _is_ignored(n)}
        try:
            self._start_all()
            code = self._watch()
        finally:
            failed = self.stop()
            for number, handler in previous.items():
                signal.signal(number, handler)
            remove_stale_segments()
        return 1 if failed and code == 0 else code

    def _interrupt(self, *_: object) -> None:
        self.stop_requested = True

    def _start_all(self) -> None:
        for row in self.rows:
            if self.stop_requested:
                return
            child = start(row, self.commands[row.name], self.run_dir / "logs", self.say)
            self.children.append(child)
            if self.twin_dir is not None and row.name in READY_FILES:
                self._await_file(child, self.twin_dir / READY_FILES[row.name])

    def _await_file(self, child: Child, path: Path) -> None:
        deadline = time.monotonic() + STARTUP_S
        while not path.exists():
            if not child.running():
                child.wait(1.0)
                raise RunFailedError(f"{child.name} did not start ({child.exit_words()})")
            if self.stop_requested:
                return
            if time.monotonic() > deadline:
                raise RunFailedError(f"{child.name} was not ready within {STARTUP_S:.0f} s")
            time.sleep(POLL_S)

    def _watch(self) -> int:
        """Wait for the first process to end, or for an interrupt."""
        while not self.stop_requested:
            for child in self.children:
                if not child.running():
                    return self._on_exit(child)
            time.sleep(POLL_S)
        self._halt()
        note_termination(self.run_dir, "shutdown", "interrupted")
        return INTERRUPTED

    def _on_exit(self, child: Child) -> int:
        if child.row.on_exit is OnExit.FINISH_RUN and child.popen.returncode == 0:
            return 0
        self._halt()
        note_termination(self.run_dir, f"node_lost:{child.name}", child.exit_words())
        self.stop()
        raise RunFailedError(
            f"{child.name} ended ({child.exit_words()}); its log: "
            f"{self.run_dir / 'logs' / child.name}.log; the run goes on with "
            f"resume:={self.run_dir.name}"
        )

    def _halt(self) -> None:
        """Tell the driver to hold before anything else is wound up."""
        for child in self.children:
            if child.name == "franka_node":
                child.ask(signal.SIGUSR1)

    def stop(self) -> list[str]:
        """Stop everybody: SIGTERM, then SIGKILL; sources of motion first.

        SIGTERM is to all of them what Ctrl-C is, and ends quietly one that is still importing.
        Says who did not end well, and returns the names of those that had something to write.
        """
        by_name = {child.name: child for child in self.children}
        for group in STOP_ORDER:
            self._stop_group([by_name.pop(name) for name in group if name in by_name])
        self._stop_group(list(by_name.values()))
        failed = [c for c in self.children if c.popen.returncode not in ENDED_WELL]
        for child in failed:
            self.say("pld", f"{child.name} did not end well ({child.exit_words()})")
        self.children.clear()
        return [child.name for child in failed if child.name in GRACE_S]

    def _stop_group(self, group: list[Child]) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            for child in group:
                child.ask(number)
            for child in group:
                child.wait(GRACE_S.get(child.name, 5.0) if number is signal.SIGTERM else 3.0)
            if not any(child.running() for child in group):
                return
