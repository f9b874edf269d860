"""When robot time may go on: logic over explicit times, so that load slows a run, not changes it.

Each peer confirms the robot time that it has dealt with. Robot time may run a bounded lead ahead of
every peer that is present. A peer that was never seen, or that has signed off, is not waited for.
A peer that follows the control steps owes nothing but to the newest of them: its lead counts from
there, so that no step begins late where the driver begins none.
A peer that blocks robot time for longer than the grace is taken for dead and not waited for until
it confirms again: a dead peer costs one grace, once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

NEVER_NS = 0
DEFAULT_GRACE_NS = 1_000_000_000
LOST_LIMIT = 20
LONGEST_LOOK_NS = 20_000_000


@dataclass
class Peer:
    """How far one peer has come, and what waiting for it has cost."""

    lead_ns: int
    follows: bool = False
    confirmed_ns: int = NEVER_NS
    blocked_ns: int = 0
    waited_ns: int = 0
    silences: int = 0
    silent: bool = False

    def confirm(self, t_ns: int) -> None:
        """Note the peer's confirmed robot time; any change shows that it lives."""
        if t_ns != self.confirmed_ns:
            self.confirmed_ns = t_ns
            self.blocked_ns = 0
            self.silent = False

    def allows(self, t_ns: int, step_ns: int) -> bool:
        """Whether robot time may reach `t_ns` as far as this peer is concerned.

        The newest control step began at `step_ns`.
        """
        if self.silent or self.confirmed_ns == NEVER_NS:
            return True
        if self.follows:
            return self.confirmed_ns >= step_ns or t_ns <= step_ns + self.lead_ns
        return t_ns <= self.confirmed_ns + self.lead_ns


@dataclass
class Pacer:
    """Decides whether robot time may advance. `leads_ns` is the allowed lead for each peer.

    Those named in `followers` follow the control steps.
    """

    leads_ns: Mapping[str, int]
    followers: tuple[str, ...] = ()
    grace_ns: int = DEFAULT_GRACE_NS
    peers: dict[str, Peer] = field(init=False)
    _blocked_at_ns: int | None = field(init=False, default=None)
    _blockers: tuple[str, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        self.peers = {
            name: Peer(lead, name in self.followers) for name, lead in self.leads_ns.items()
        }

    def blockers(
        self, t_ns: int, confirmed_ns: Mapping[str, int], wall_ns: int, step_ns: int = 0
    ) -> tuple[str, ...]:
        """Names of the peers to wait for before robot time may reach `t_ns`; empty: go on.

        `confirmed_ns` holds the robot time that each peer has confirmed (0: never seen);
        `wall_ns` is a steady clock, used for the grace alone; `step_ns` is the robot time at which
        the newest control step began.
        """
        self._charge(wall_ns)
        for name, t_confirmed in confirmed_ns.items():
            self.peers[name].confirm(t_confirmed)
        blocked = []
        for name, peer in self.peers.items():
            if peer.allows(t_ns, step_ns):
                continue
            if peer.blocked_ns >= self.grace_ns:
                peer.silent = True
                peer.silences += 1
                continue
            blocked.append(name)
        self._blockers = tuple(blocked)
        self._blocked_at_ns = wall_ns if blocked else None
        return self._blockers

    def _charge(self, wall_ns: int) -> None:
        """Book the wall time since the last answer to those that were waited for.

        Towards the grace goes no more than a look takes: what this process itself stood still for
        is not theirs.
        """
        if self._blocked_at_ns is None:
            return
        spent = wall_ns - self._blocked_at_ns
        for name in self._blockers:
            self.peers[name].blocked_ns += min(spent, LONGEST_LOOK_NS)
            self.peers[name].waited_ns += spent


@dataclass
class ReplyWatch:
    """The 1 kHz exchange with the client: which replies to wait for, and when they are too few.

    A reply is waited for until `grace_ns` of wall time; then the client counts as silent, and no
    further period waits until it answers again. `LOST_LIMIT` replies missing in a row violate the
    communication constraints, as on the robot.
    """

    grace_ns: int = DEFAULT_GRACE_NS
    window: int = 100
    missed: int = 0
    missed_in_row: int = 0
    silent: bool = False
    _history: list[bool] = field(default_factory=list)

    def patience_ns(self) -> int:
        """How long to wait for the next reply, wall time."""
        return 0 if self.silent else self.grace_ns

    def answered(self) -> None:
        """The reply of this period came."""
        self.missed_in_row = 0
        self.silent = False
        self._note(True)

    def lost(self, *, in_transit: bool) -> None:
        """The reply of this period is lost: injected on the way, or never sent by the client."""
        self.missed += 1
        self.missed_in_row += 1
        self.silent = self.silent or not in_transit
        self._note(False)

    def restart(self) -> None:
        """A motion begins: forget the last one."""
        self.missed_in_row = 0
        self.silent = False
        self._history.clear()

    @property
    def violated(self) -> bool:
        """Whether too many replies are missing in a row."""
        return self.missed_in_row >= LOST_LIMIT

    @property
    def success_rate(self) -> float:
        """Share of the last `window` replies that came, 0 to 1; 0 when there were none."""
        return sum(self._history) / len(self._history) if self._history else 0.0

    def _note(self, came: bool) -> None:
        self._history.append(came)
        if len(self._history) > self.window:
            del self._history[0]
