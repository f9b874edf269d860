"""From a device's readings to normalised actions (7,) in base axes; pure, time as an argument.

Nothing moves without the deadman. A deflection is turned into base axes, freed of its dead zone,
scaled, and may only grow at a bounded rate: whoever takes over starts from rest. It may shrink at
once: letting go is never delayed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from pld.errors import ConfigError
from pld.teleop.reading import Reading
from pld.types import Array


@dataclass(frozen=True)
class ShapingConfig:
    """How deflections become actions.

    `speed` and `turn` are the parts of a unit action that full deflection asks for. `look_deg` is
    where the operator looks, as an angle about base z from base x: 0 stands behind the robot, 180
    faces it. `rise_per_s` bounds growth [unit actions / s]. An axis wakes above `wake` and sleeps
    below `sleep`.
    """

    speed: float = 0.5
    turn: float = 0.5
    look_deg: float = 0.0
    rise_per_s: float = 4.0
    wake: float = 0.12
    sleep: float = 0.08

    def __post_init__(self) -> None:
        """Refuse values that make no sense, with the field named."""
        for given in fields(self):
            if not np.isfinite(getattr(self, given.name)):
                raise ConfigError(f"{given.name}: {getattr(self, given.name)} is not finite")
        for name in ("speed", "turn"):
            _require(name, getattr(self, name), 0.0, 1.0)
        _require("rise_per_s", self.rise_per_s, 0.0, 100.0)
        _require("wake", self.wake, 0.0, 0.9)
        if not 0.0 <= self.sleep <= self.wake:
            raise ConfigError(f"sleep: {self.sleep} is not from 0 to wake ({self.wake})")
        if abs(self.look_deg) > 360.0:
            raise ConfigError(f"look_deg: {self.look_deg} is not from -360 to 360")


def _require(name: str, value: float, low: float, high: float) -> None:
    if not low < value <= high:
        raise ConfigError(f"{name}: {value} is outside ({low:g}, {high:g}]")


def _asleep() -> NDArray[np.bool_]:
    return np.zeros(6, dtype=bool)


def _at_rest() -> Array:
    return np.zeros(6)


@dataclass(frozen=True)
class Shaper:
    """The memory between readings.

    `armed`: the deadman was seen released, so that a button that is stuck from the start never
    counts. `held`: the deadman counts now. `motion` (6,) is the last action's motion,
    `gripper` its gripper entry: +1 open, -1 close.
    """

    config: ShapingConfig = field(default_factory=ShapingConfig)
    armed: bool = False
    held: bool = False
    motion: Array = field(default_factory=_at_rest)
    gripper: float = 1.0
    awake: NDArray[np.bool_] = field(default_factory=_asleep)

    @property
    def action(self) -> Array:
        """The (7,) action; without the deadman no motion."""
        return np.concatenate([self.motion if self.held else np.zeros(6), [self.gripper]])

    def shape(self, reading: Reading | None, dt_s: float, gripper_open: float) -> Shaper:
        """After `reading`, `dt_s` after the last; `gripper_open` is the arm's last command.

        None: the device said nothing, which is no sign that its deadman is free.
        """
        if reading is None:
            return self.released(gripper_open)
        deflection = np.concatenate([reading.translation, reading.rotation])
        usable = deflection.shape == (6,) and bool(np.all(np.isfinite(deflection)))
        if not (reading.deadman and self.armed and usable):
            return replace(self.released(gripper_open), armed=self.armed or not reading.deadman)
        if not self.held:
            gripper = gripper_open if reading.gripper_presses % 2 == 0 else -gripper_open
            return replace(self, held=True, gripper=gripper, motion=np.zeros(6))
        awake = np.abs(deflection) > np.where(self.awake, self.config.sleep, self.config.wake)
        wanted = self._wanted(deflection * awake)
        motion = _grown(self.motion, wanted, self.config.rise_per_s * max(dt_s, 0.0))
        gripper = self.gripper if reading.gripper_presses % 2 == 0 else -self.gripper
        return replace(self, awake=awake, motion=motion, gripper=gripper)

    def released(self, gripper_open: float) -> Shaper:
        """Nobody holds the deadman; the gripper entry follows the arm's last command."""
        gripper = 1.0 if gripper_open >= 0.0 else -1.0
        return replace(
            self, held=False, motion=np.zeros(6), gripper=gripper, awake=np.zeros(6, dtype=bool)
        )

    def _wanted(self, deflection: Array) -> Array:
        """Deflection (6,) in operator axes to motion (6,) in base axes, each part at most scale."""
        config = self.config
        base_R_operator = Rotation.from_euler("z", config.look_deg, degrees=True)
        parts = [
            base_R_operator.apply(_in_unit_ball(deflection[:3])) * config.speed,
            base_R_operator.apply(_in_unit_ball(deflection[3:])) * config.turn,
        ]
        return np.concatenate(parts)


def _in_unit_ball(vector: Array) -> Array:
    """`vector` shortened to length 1."""
    scaled: Array = vector / max(1.0, float(np.linalg.norm(vector)))
    return scaled


def _grown(last: Array, wanted: Array, step: float) -> Array:
    """Each entry from `last` towards `wanted`: growth by `step` at most, shrinking at once.

    A reversal passes through rest.
    """
    start = np.where(np.sign(wanted) == np.sign(last), last, 0.0)
    shrinks = np.abs(wanted) <= np.abs(start)
    grown: Array = np.where(shrinks, wanted, start + np.clip(wanted - start, -step, step))
    return grown
