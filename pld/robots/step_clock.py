"""Control periods and the command watchdog over explicit robot time; no clock is read here."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.spatial.transform import Rotation

from pld.geometry import normalised, pose_delta
from pld.types import Array, Command, Pose


@dataclass
class StepClock:
    """Counts control periods of `period_ns` and notices when commands stop.

    `step` never goes back. Periods that were missed are skipped, counted in `skipped`.
    """

    period_ns: int
    watchdog_ns: int
    step: int = 0
    skipped: int = 0
    _boundary_ns: int | None = field(init=False, default=None)
    _commanded_ns: int | None = field(init=False, default=None)

    def until_boundary_ns(self, t_ns: int) -> int:
        """Robot time left in the current period; zero or less: the next one has begun."""
        if self._boundary_ns is None or self._boundary_ns - t_ns > self.period_ns:
            self._boundary_ns = t_ns + self.period_ns
        return self._boundary_ns - t_ns

    def advance(self, t_ns: int) -> int:
        """Begin the period in which `t_ns` lies; returns its step."""
        late_ns = -self.until_boundary_ns(t_ns)
        periods = max(late_ns, 0) // self.period_ns + 1
        self._boundary_ns = t_ns - late_ns + periods * self.period_ns
        self.step += 1
        self.skipped += periods - 1
        return self.step

    def rebase(self) -> None:
        """Begin the grid anew at the next look; nothing counts as skipped."""
        self._boundary_ns = None

    def commanded(self, t_ns: int) -> None:
        """A valid command came at `t_ns`."""
        self._commanded_ns = t_ns

    def disarm(self) -> None:
        """No commands are expected until the next one comes."""
        self._commanded_ns = None

    def until_stale_ns(self, t_ns: int) -> int | None:
        """Robot time left before the last command is stale; None while none is expected."""
        if self._commanded_ns is None:
            return None
        return self._commanded_ns + self.watchdog_ns - t_ns


@dataclass
class TimeGuard:
    """Notices that robot time stands still for longer than `limit_s` of steady time."""

    limit_s: float
    _t_ns: int | None = field(init=False, default=None)
    _moved_s: float = field(init=False, default=0.0)

    def stands_still(self, t_ns: int, steady_s: float) -> bool:
        """Whether robot time `t_ns` has not changed for too long at steady time `steady_s`."""
        if t_ns != self._t_ns:
            self._t_ns, self._moved_s = t_ns, steady_s
        return steady_s - self._moved_s > self.limit_s


def is_usable(command: Command) -> bool:
    """Whether every number of the command that moves the arm or the hand is finite and sensible."""
    p_m = np.asarray(command.target.p_m, dtype=float)
    q_xyzw = np.asarray(command.target.q_xyzw, dtype=float)
    if p_m.shape != (3,) or q_xyzw.shape != (4,):
        return False
    numbers = np.concatenate([p_m, q_xyzw, [float(command.gripper_open)]])
    return bool(np.isfinite(numbers).all()) and bool(0.5 < np.linalg.norm(q_xyzw) < 2.0)


def clipped_reference(measured: Pose, target: Pose, lead_m: float, lead_rad: float) -> Pose:
    """`target` (O) drawn towards `measured` (O) so that each axis differs by `lead_m` [m] at most.

    The rotation between them is at most `lead_rad` [rad]. This keeps a blocked arm's reference
    from winding up, so that it does not lurch once it is free.
    """
    target = normalised(target)
    delta_m, delta_rad = pose_delta(measured, target)
    p_m: Array = measured.p_m + np.clip(delta_m, -lead_m, lead_m)
    angle = float(np.linalg.norm(delta_rad))
    if angle <= lead_rad:
        return Pose(p_m, target.q_xyzw)
    rotation = Rotation.from_rotvec(delta_rad * (lead_rad / angle))
    turned = rotation * Rotation.from_quat(measured.q_xyzw)
    return Pose(p_m, turned.as_quat(canonical=True))
