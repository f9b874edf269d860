"""Guards against a second publisher on a topic that moves the arm, and against old commands.

Three signs, each enough alone: the graph shows more than one publisher; the middleware's sequence
numbers, which each publisher counts for itself, go back or leap; or a step is answered with motion
twice, or before it was asked.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

LARGEST_GAP = 1000


@dataclass(frozen=True)
class SingleSource:
    """Follows the sequence numbers of one topic; -1 before the first message."""

    last: int = -1

    def on_message(self, sequence: int | None) -> tuple[SingleSource, bool]:
        """The guard after a message and whether it can be the known publisher's.

        `sequence` None: the middleware counts none. Lost messages leave gaps, which are fine.
        """
        if sequence is None:
            return self, True
        if self.last >= 0 and not 0 < sequence - self.last <= LARGEST_GAP:
            return self, False
        return replace(self, last=sequence), True


@dataclass(frozen=True)
class SoleSpeaker:
    """Who spoke on a topic lately: one that was replaced falls silent, two at a time do not.

    `heard` maps a publisher, as the middleware names it, to the newest step that it spoke of.
    """

    window_steps: int
    heard: Mapping[Hashable, int] = field(default_factory=dict)

    def on_message(self, speaker: Hashable, step: int) -> SoleSpeaker:
        """`speaker` said something for `step`; who was last heard too long ago is forgotten."""
        kept = {who: at for who, at in self.heard.items() if step - at <= self.window_steps}
        return replace(self, heard={**kept, speaker: step})

    @property
    def is_alone(self) -> bool:
        """Whether nobody else spoke within the window."""
        return len(self.heard) < 2


class Order(Enum):
    """What a command's step says about it."""

    FINE = "fine"
    LATE = "late"
    FOREIGN = "foreign"


@dataclass(frozen=True)
class CommandOrder:
    """At most one command that moves the arm per step, and only for the newest steps.

    The safety node answers each arm state with at most one motion, so a second one, or one to a
    state not told yet, comes from somebody else. A hold is taken at any time.
    """

    moved_step: int = -1

    def on_command(self, step: int, newest_step: int, *, hold: bool) -> tuple[CommandOrder, Order]:
        """The guard after a command to `step` and what to make of it."""
        if hold:
            return self, Order.FINE
        if step > newest_step or step == self.moved_step:
            return self, Order.FOREIGN
        if step < max(newest_step - 1, self.moved_step):
            return self, Order.LATE
        return replace(self, moved_step=step), Order.FINE
