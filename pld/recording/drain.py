"""When the last messages of an ended episode have arrived."""

from __future__ import annotations

from collections.abc import Iterable

from pld.recording.bag import RawMessage

ACTIVE_WITHIN_NS = 250_000_000


class Activity:
    """The newest publication time of each topic."""

    def __init__(self) -> None:
        self._newest_ns: dict[str, int] = {}

    def on_message(self, message: RawMessage) -> None:
        """Note a publication."""
        self._newest_ns[message.topic] = message.publish_time_ns

    def active(self, now_ns: int) -> list[str]:
        """Topics that published less than ACTIVE_WITHIN_NS before `now_ns` (publish clock)."""
        return [t for t, newest in self._newest_ns.items() if now_ns - newest < ACTIVE_WITHIN_NS]


class Drain:
    """Complete when each active topic has shown a message published after the end, or in time.

    Messages of one publisher arrive in order, so such a message proves that nothing older is
    under way. Topics that fall silent with the episode are waited for until nothing older has
    come for `quiet_ns`, at most `limit_ns` in all, both counted from the first look at the clock:
    a recorder that is behind still finds what waits for it.
    """

    def __init__(
        self, end_publish_ns: int, active: Iterable[str], quiet_ns: int, limit_ns: int
    ) -> None:
        self._end_publish_ns = end_publish_ns
        self._pending = set(active)
        self._quiet_ns = quiet_ns
        self._limit_ns = limit_ns
        self._first_look_ns: int | None = None
        self._quiet_since_ns: int | None = None

    def on_message(self, message: RawMessage) -> None:
        """Note a message that arrived after the end."""
        if message.publish_time_ns >= self._end_publish_ns:
            self._pending.discard(message.topic)
        else:
            self._quiet_since_ns = None

    @property
    def has_everything(self) -> bool:
        """Whether every active topic has passed the end."""
        return not self._pending

    def is_complete(self, now_ns: int) -> bool:
        """Whether to close now; `now_ns` on the clock of the one who waits."""
        if self._first_look_ns is None:
            self._first_look_ns = now_ns
        if self._quiet_since_ns is None:
            self._quiet_since_ns = now_ns
        is_quiet = now_ns - self._quiet_since_ns >= self._quiet_ns
        return self.has_everything or is_quiet or now_ns - self._first_look_ns >= self._limit_ns
