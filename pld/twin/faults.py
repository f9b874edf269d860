"""Fault scripts: lost and late packets, silence, a camera that repeats itself; robot time.

A reply that comes after its millisecond is dropped by the robot, which stops after 20 in a row
(libfranka's documentation, "Franka Control Interface"); so a latency loses every reply.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from pld.contract import CAMERAS
from pld.errors import ConfigError

FAULTS = {
    "packet_loss": ("count", "probability", "seed"),
    "silence": ("duration_s",),
    "latency": (),
    "freeze": (),
    "reflex": ("name",),
    "repeated_picture": ("camera",),
}


@dataclass
class FaultScript:
    """What is wrong with the wire and the cameras now; everything is off at first."""

    lose_next: int = 0
    loss_probability: float = 0.0
    silent_until_ns: int = 0
    late: bool = False
    frozen: bool = False
    repeating: tuple[str, ...] = ()
    injected: dict[str, int] = field(default_factory=dict)
    _random: random.Random = field(default_factory=lambda: random.Random(0))

    def inject(self, fault: str, t_ns: int, parameters: dict[str, object]) -> None:
        """Switch one fault on at robot time `t_ns`; see FAULTS for names and parameters."""
        if fault not in FAULTS:
            raise ConfigError.unknown("fault", fault, FAULTS)
        for name in parameters:
            if name not in FAULTS[fault]:
                raise ConfigError.unknown(f"parameter of {fault}", name, FAULTS[fault] or ["none"])
        if fault == "packet_loss":
            self._random = random.Random(int(_number(parameters, "seed", 0)))
            self.lose_next = int(_number(parameters, "count", 0))
            self.loss_probability = _number(parameters, "probability", 0.0, upper=1.0)
        elif fault == "silence":
            self.silent_until_ns = t_ns + int(_number(parameters, "duration_s", 2.0) * 1e9)
        elif fault == "latency":
            self.late = True
        elif fault == "freeze":
            self.frozen = True
        elif fault == "repeated_picture":
            camera = str(parameters.get("camera", CAMERAS[0]))
            if camera not in CAMERAS:
                raise ConfigError.unknown("camera", camera, CAMERAS)
            self.repeating = (camera,)
        self.injected[fault] = self.injected.get(fault, 0) + 1

    def clear(self) -> None:
        """Switch every fault off; the counts stay."""
        self.lose_next, self.loss_probability = 0, 0.0
        self.silent_until_ns, self.late, self.frozen, self.repeating = 0, False, False, ()

    def is_silent(self, t_ns: int) -> bool:
        """Whether nothing is sent or heard at robot time `t_ns`."""
        return t_ns < self.silent_until_ns

    def loses_reply(self) -> bool:
        """Whether the next reply of the client is lost on its way; counts it."""
        if self.lose_next > 0:
            self.lose_next -= 1
            return True
        return self.loss_probability > 0 and self._random.random() < self.loss_probability


def _number(parameters: dict[str, object], name: str, default: float, upper: float = 1e6) -> float:
    value = parameters.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= upper:
        raise ConfigError(f"{name} is {value!r}; give a number from 0 to {upper:g}")
    return float(value)
