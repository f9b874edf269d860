"""Keys of a plain terminal as readings; pure, time as an argument.

A terminal tells of presses and of their automatic repetition, never of releases. So Shift and a
letter, held, is motion: each press moves for `MOTION_NS`, which bridges the repetition (about
30 ms) and no more. The deadman outlives it by the pause before the repetition starts, at rest; any
other key ends it at once. G pressed again within that pause is the same press, held.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np

from pld.teleop.reading import OperatorKey, Reading

MOTION_NS = 120_000_000
DEADMAN_NS = 700_000_000
FOREVER_AGO = -(10**18)

DIRECTIONS: dict[str, tuple[int, float]] = {
    "W": (0, 1.0),
    "S": (0, -1.0),
    "A": (1, 1.0),
    "D": (1, -1.0),
    "R": (2, 1.0),
    "F": (2, -1.0),
    "U": (3, -1.0),
    "O": (3, 1.0),
    "I": (4, 1.0),
    "K": (4, -1.0),
    "J": (5, 1.0),
    "L": (5, -1.0),
}
"""Key to (axis of translation then rotation, sign) in operator axes."""
GRIPPER = "G"
ESCAPES = re.compile(r"\x1b(?:[\[O][^@-~ ]*(?:[@-~]|(?= ))|[^\[O ]|(?= ))")
UNFINISHED = re.compile(r"\x1b(?:[\[O][^@-~ ]*)?$")
WORDS: dict[str, OperatorKey] = {
    " ": OperatorKey.STOP,
    "1": OperatorKey.SUCCESS,
    "2": OperatorKey.FAILURE,
    "3": OperatorKey.DISCARD,
    "p": OperatorKey.PAUSE,
    "c": OperatorKey.RESUME,
    "q": OperatorKey.QUIT,
}
MOTION_HELP = (
    "hold Shift and: W/S away/back, A/D left/right, R/F up/down, U/O I/K J/L turn about the axes "
    "away, left, up; G gripper"
)
WORDS_HELP = (
    "space STOP, p pause, c policy goes on, q quit; with Shift released: 1 success, 2 failure, "
    "3 discard"
)


@dataclass(frozen=True)
class Keys:
    """What is held, as far as a terminal tells. Times [ns] are those of the last press."""

    direction: str = ""
    moved_ns: int = FOREVER_AGO
    alive_ns: int = FOREVER_AGO
    gripped_ns: int = FOREVER_AGO
    escape: str = ""
    escaped_ns: int = FOREVER_AGO

    def press(self, text: str, t_ns: int) -> tuple[Keys, Reading]:
        """After the keys of `text`, none being allowed, at `t_ns`; and what that says."""
        begun = self.escape if t_ns - self.escaped_ns <= MOTION_NS else ""
        typed, unfinished = without_escapes(begun + text)
        keys, words, gripper = self, [], 0
        for key in typed:
            if key in DIRECTIONS:
                keys = Keys(key, t_ns, t_ns, keys.gripped_ns)
            elif key == GRIPPER:
                gripper += t_ns - keys.gripped_ns > DEADMAN_NS
                keys = replace(keys, alive_ns=t_ns, gripped_ns=t_ns)
            else:
                keys = Keys()
                word = WORDS.get(key.lower())
                words += [word] if word is not None else []
        keys = replace(keys, escape=unfinished, escaped_ns=t_ns)
        return keys, keys.reading(t_ns, gripper, tuple(words))

    def reading(self, t_ns: int, gripper: int = 0, words: tuple[OperatorKey, ...] = ()) -> Reading:
        """What is held at `t_ns`."""
        deflection = np.zeros(6)
        if self.direction and t_ns - self.moved_ns <= MOTION_NS:
            axis, sign = DIRECTIONS[self.direction]
            deflection[axis] = sign
        deadman = t_ns - self.alive_ns <= DEADMAN_NS
        return Reading(deadman, deflection[:3], deflection[3:], gripper, words)


def without_escapes(text: str) -> tuple[str, str]:
    """`text` without escape sequences (arrow keys and the like), and one that it ends amid.

    Their letters are no commands. A space is never part of one: it says STOP.
    """
    kept = ESCAPES.sub("", text)
    found = UNFINISHED.search(kept)
    return (kept[: found.start()], found[0]) if found else (kept, "")
