"""Lost messages, counted from the publication sequence numbers of each publisher."""

from __future__ import annotations

from collections.abc import Hashable


class SequenceTracker:
    """Remembers the newest sequence number per (topic, publisher) and counts what is missing."""

    def __init__(self) -> None:
        self._newest: dict[tuple[str, Hashable], int] = {}

    def missing_before(self, topic: str, sequence: int, publisher: Hashable = None) -> int:
        """How many messages were lost just before this one.

        The first message of a publisher loses nothing. A number that is not greater than the
        newest means a restarted publisher and begins anew. A `sequence` of 0 is unknown.
        """
        if sequence <= 0:
            return 0
        newest = self._newest.get((topic, publisher))
        self._newest[(topic, publisher)] = sequence
        if newest is None or sequence <= newest:
            return 0
        return sequence - newest - 1
