"""The twin's run loop: 1 kHz of robot time, real time when the machine can, never ahead of a peer.

One thread: hold back for slow peers, keep the schedule, wait for the client's reply, step, tell.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pld.twin.control import ControlServer
from pld.twin.fci import GRIPPER_STATE_EVERY_MS, NS_PER_MS, FciServer
from pld.twin.link import CAMERA_RATE_HZ, TwinLink
from pld.twin.pacing import Pacer
from pld.twin.stage import Stage

CONTROL_EVERY_MS = 5
KEEPALIVE_NS = 200_000_000
BACKLOG_NS = 10_000_000
COMMAND_BUDGET_NS = 5_000_000
CAMERA_BUDGET_NS = 14_000_000
DRIVER_BUDGET_NS = 15_000_000
NODES_PART = 0.2
RECENT_MS = 5000


def pacer(rate_hz: float) -> Pacer:
    """How far robot time may run ahead of each peer's confirmation at that control rate.

    The nodes beside the arm must have dealt with a control step before NODES_PART of it is over, in
    time for the safety node, which looks for their word a little later.
    """
    camera_ns = round(1e9 / CAMERA_RATE_HZ) + CAMERA_BUDGET_NS
    leads = {
        "command": round(1e9 / rate_hz) + COMMAND_BUDGET_NS,
        "third_person": camera_ns,
        "wrist": camera_ns,
        "driver": DRIVER_BUDGET_NS,
        "nodes": round(NODES_PART * 1e9 / rate_hz),
    }
    return Pacer(leads, followers=("nodes",))


@dataclass
class Times:
    """Steady wall clock at the start and RECENT_MS ago, and how long the client was waited for."""

    started_ns: int
    recent_ns: int
    recent_ms: int
    client_wait_ns: int = 0


class TwinLoop:
    """Runs `stage` behind `server`; `clock_ns` is a steady clock."""

    def __init__(
        self,
        stage: Stage,
        server: FciServer,
        link: TwinLink,
        pacer: Pacer,
        *,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._stage, self._server, self._link, self._pacer = stage, server, link, pacer
        self._clock_ns = clock_ns
        self._control: ControlServer | None = None
        self.stopping = False
        self.t_ms = 1
        now = clock_ns()
        self._due_ns = self._told_ns = now
        self._times = Times(now, now, self.t_ms)
        self._recent_factor = 1.0
        server.observe(self.t_ms)
        link.publish(stage.truth(self.t_ms))

    def run(self, control: ControlServer) -> None:
        """Serve until `stopping` is set."""
        self._control = control
        while not self.stopping:
            self.tick()

    def tick(self) -> None:
        """One millisecond of robot time."""
        self._hold_back()
        self._keep_schedule()
        self._await_reply()
        self._server.account()
        self._server.act()
        self._stage.simulator.step()
        self.t_ms += 1
        self._server.observe(self.t_ms)
        self._link.publish(self._stage.truth(self.t_ms))
        self._server.broadcast()
        if self.t_ms % GRIPPER_STATE_EVERY_MS == 0:
            self._told_ns = self._clock_ns()  # robot and hand: both give up what is silent
        if self.t_ms % CONTROL_EVERY_MS == 0 and self._control is not None:
            self._control.poll()
        if self.t_ms - self._times.recent_ms >= RECENT_MS:
            self._note_recent()

    def stats(self) -> dict[str, Any]:
        """Real-time factor, waits, replies and reflexes since the start."""
        watch, spent = self._server.watch, self._clock_ns() - self._times.started_ns
        return {
            "t_ns": self.t_ms * NS_PER_MS,
            "real_time_factor": self.t_ms * NS_PER_MS / max(spent, 1),
            "recent_real_time_factor": self._recent_factor,
            "waited_s": {n: p.waited_ns / 1e9 for n, p in self._pacer.peers.items()},
            "silences": {n: p.silences for n, p in self._pacer.peers.items()},
            "client_wait_s": self._times.client_wait_ns / 1e9,
            "replies_missed": watch.missed,
            "success_rate": watch.success_rate,
            "reflexes": dict(self._server.reflexes),
            "errors": sorted(self._server.errors),
            "clients_turned_away": self._server.turned_away,
            "faults_injected": dict(self._server.faults.injected),
            "resets": self._stage.resets,
        }

    def _hold_back(self) -> None:
        """Wait while a peer is too far behind, or while robot time is frozen."""
        while not self.stopping:
            now = self._clock_ns()
            confirmed = {name: self._link.confirmed(name)[0] for name in self._pacer.peers}
            step_ns = self._link.confirmed("step")[0]
            blocked = self._pacer.blockers((self.t_ms + 1) * NS_PER_MS, confirmed, now, step_ns)
            if not blocked and not self._server.faults.frozen:
                break
            self._keep_alive(now)
            self._server.poll_tcp()
            self._server.hear()
            self._idle()

    def _keep_alive(self, now_ns: int) -> None:
        """Repeat the last state now and then: clients give up what is silent for a second."""
        if now_ns - self._told_ns < KEEPALIVE_NS:
            return
        self._told_ns = now_ns
        self._server.send_state()
        self._server.gripper_server.send_numbered(self.t_ms)

    def _idle(self) -> None:
        if self._control is not None:
            self._control.poll(0.001)
        else:
            time.sleep(0.001)

    def _keep_schedule(self) -> None:
        self._due_ns += NS_PER_MS
        spare = self._due_ns - self._clock_ns()
        if spare > 0:
            time.sleep(spare / 1e9)
        elif -spare > BACKLOG_NS:
            self._due_ns = self._clock_ns()

    def _await_reply(self) -> None:
        """Wait for the client's reply to the last state; load costs wall time, never a packet."""
        server = self._server
        if server.hear() or not server.expects_reply:
            return
        began = self._clock_ns()
        deadline = began + server.watch.patience_ns()
        if server.faults.is_silent(self.t_ms * NS_PER_MS):
            return
        while (left := deadline - (now := self._clock_ns())) > 0:
            self._keep_alive(now)
            select.select(server.client_sockets(), [], [], min(left / 1e9, 0.05))
            if server.hear() or not server.still_owes_a_reply():
                break
        self._times.client_wait_ns += self._clock_ns() - began

    def _note_recent(self) -> None:
        times, now = self._times, self._clock_ns()
        robot_ns = (self.t_ms - times.recent_ms) * NS_PER_MS
        self._recent_factor = robot_ns / max(now - times.recent_ns, 1)
        times.recent_ns, times.recent_ms = now, self.t_ms
