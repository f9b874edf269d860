"""A device played from a file descriptor, for tests and drills: one JSON object a line.

    {"deadman": true, "translation": [0, 0, 1], "rotation": [0, 0, 0], "gripper": 1, "keys": []}

What a line does not say is released. The end of the stream is the loss of the device.
"""

from __future__ import annotations

import json
import os
import select
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pld.config import from_mapping
from pld.errors import ConfigError, TeleopError
from pld.teleop.reading import OperatorKey, Reading
from pld.teleop.terminal import STANDARD_INPUT

HELP = "reads JSON lines from standard input"


@dataclass(frozen=True)
class Line:
    """One line of a script."""

    deadman: bool = False
    translation: tuple[float, float, float] = (0.0, 0.0, 0.0)
    rotation: tuple[float, float, float] = (0.0, 0.0, 0.0)
    gripper: int = 0
    keys: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse unknown words."""
        valid = [key.value for key in OperatorKey]
        for key in self.keys:
            if key not in valid:
                raise ConfigError.unknown("key", key, valid)

    @property
    def words(self) -> tuple[OperatorKey, ...]:
        """Its keys."""
        return tuple(OperatorKey(key) for key in self.keys)


def parse(line: str) -> Line:
    """One line of a script; raises TeleopError that quotes it."""
    try:
        content = json.loads(line)
        if not isinstance(content, Mapping):
            raise ConfigError("it is no object")
        return from_mapping(dict[str, Any](content), Line, where="line")
    except (ValueError, ConfigError) as error:
        raise TeleopError(f"not a line of a script: {line!r}: {error}") from error


class ScriptedDevice:
    """TeleopDevice that reads its script from standard input, or from `descriptor`."""

    name = "scripted"

    def __init__(self, descriptor: int = STANDARD_INPUT) -> None:
        self._descriptor = descriptor
        self._rest = ""
        self._line = Line()

    def open(self) -> None:
        """Nothing to do."""

    def read(self, timeout_s: float) -> Reading:
        """The script's newest line; TeleopError at its end."""
        ready, _, _ = select.select([self._descriptor], [], [], timeout_s)
        gripper = 0
        words: list[OperatorKey] = []
        for line in self._lines() if ready else []:
            self._line = parse(line)
            gripper += self._line.gripper
            words += self._line.words
        now = self._line
        return Reading(
            now.deadman, np.array(now.translation), np.array(now.rotation), gripper, tuple(words)
        )

    def close(self) -> None:
        """Nothing to do."""

    def _lines(self) -> list[str]:
        text = os.read(self._descriptor, 1 << 16).decode()
        if not text:
            raise TeleopError("the script has ended, which counts as the loss of its device")
        *lines, self._rest = (self._rest + text).split("\n")
        return [line for line in lines if line.strip()]
