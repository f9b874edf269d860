"""The twin's shared page: one small memory-mapped file between the simulator and its watchers.

The simulator process writes the physical truth after every millisecond of robot time, guarded by
a sequence counter (a seqlock: odd while writing). The renderer and the success detector read it.
Watchers write back how far they have come (`confirm`), which is what lets robot time wait for a
slow machine instead of running away from it (see pld.twin.pacing). A plain file, so that a killed
process leaves nothing in shared memory.

The last positions at camera instants (the first millisecond at or after each 1/30 s of robot time)
stay readable in a short ring, so that a late renderer draws the same images as a punctual one.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pld.errors import ConfigError, RobotError
from pld.types import Array

LINK_NAME = "twin.link"

NQ_MAX = 64
CAMERA_RATE_HZ = 30
INSTANTS = 8
LAYOUT = np.dtype(
    [
        ("magic", "<u8"),
        ("sequence", "<u8"),
        ("t_ns", "<i8"),
        ("nq", "<i8"),
        ("nv", "<i8"),
        ("qpos", "<f8", NQ_MAX),
        ("qvel", "<f8", NQ_MAX),
        ("resets", "<i8"),
        ("success", "<i8"),
        ("contact_n", "<f8"),
        ("object_speed_m_s", "<f8"),
        ("confirmed_ns", "<i8", 16),
        ("confirmed_wall_ns", "<i8", 16),
        ("instants", "<i8"),
        ("instant_t_ns", "<i8", INSTANTS),
        ("instant_qpos", "<f8", (INSTANTS, NQ_MAX)),
        ("repeating", "<u8"),
    ]
)
MAGIC = 0x504C_445F_5457_494E
CONFIRM_SLOTS = {"command": 0, "third_person": 1, "wrist": 2, "driver": 3, "step": 4, "nodes": 5}
"""Who confirms. `step` is no peer but says when the newest control step began; `nodes` are those
that work beside the arm at every step."""
LOOKS, LOOK_S = 20_000, 0.0005
SIGNED_OFF_NS = np.iinfo(np.int64).max // 2


def camera_instant(t_ns: int) -> int:
    """How many camera periods of 1/30 s are complete at robot time `t_ns`."""
    return t_ns * CAMERA_RATE_HZ // 1_000_000_000


@dataclass(frozen=True)
class Truth:
    """One consistent reading of the simulator: robot time, generalised positions, task truth."""

    t_ns: int
    qpos: Array
    qvel: Array
    resets: int
    success: bool
    contact_n: float
    object_speed_m_s: float


@dataclass(frozen=True)
class Instant:
    """The generalised positions `qpos` (nq,) at one camera instant, counted from 1 by `number`."""

    number: int
    t_ns: int
    qpos: Array


class TwinLink:
    """A mapped page; one writer of the truth, one per confirm slot, any number of readers."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        if create:
            path.write_bytes(bytes(LAYOUT.itemsize))
        elif not path.exists():
            raise ConfigError(f"no twin at {str(path)!r}; start one with `pld up sim`")
        descriptor = os.open(path, os.O_RDWR)
        try:
            self._map = mmap.mmap(descriptor, LAYOUT.itemsize)
        finally:
            os.close(descriptor)
        self._page = np.frombuffer(self._map, dtype=LAYOUT, count=1)
        self._view = {name: self._page[name][0:1].reshape(-1) for name in LAYOUT.names or ()}
        if create:
            self._page["magic"] = MAGIC

    def publish(self, truth: Truth) -> None:
        """Write the truth (simulator only)."""
        page = self._page
        page["sequence"][0] += 1
        before_ns = int(page["t_ns"][0])
        page["t_ns"][0] = truth.t_ns
        page["nq"][0], page["nv"][0] = truth.qpos.size, truth.qvel.size
        page["qpos"][0, : truth.qpos.size] = truth.qpos
        page["qvel"][0, : truth.qvel.size] = truth.qvel
        page["resets"][0] = truth.resets
        page["success"][0] = int(truth.success)
        page["contact_n"][0] = truth.contact_n
        page["object_speed_m_s"][0] = truth.object_speed_m_s
        page["sequence"][0] += 1
        if camera_instant(truth.t_ns) != camera_instant(before_ns):
            self._keep_instant(truth)

    def _keep_instant(self, truth: Truth) -> None:
        page = self._page
        count = int(page["instants"][0])
        page["instant_t_ns"][0, count % INSTANTS] = truth.t_ns
        page["instant_qpos"][0, count % INSTANTS, : truth.qpos.size] = truth.qpos
        page["instants"][0] = count + 1

    @property
    def instants(self) -> int:
        """Number of the latest camera instant; 0 before the first."""
        return int(self._page["instants"][0])

    def instant(self, number: int) -> Instant | None:
        """Camera instant `number`; None when it is still to come or no longer kept."""
        page = self._page
        if number > self.instants:
            return None
        slot = (number - 1) % INSTANTS
        t_ns = int(page["instant_t_ns"][0, slot])
        qpos = page["instant_qpos"][0, slot, : int(page["nq"][0])].copy()
        if number <= self.instants - INSTANTS + 1:
            return None
        return Instant(number, t_ns, qpos)

    def read(self) -> Truth | None:
        """The latest consistent truth, or None when nothing was written yet.

        Raises RobotError when the simulator was ended in the middle of writing it.
        """
        page = self._page
        for _ in range(LOOKS):
            before = int(page["sequence"][0])
            if before == 0:
                return None
            if before % 2:
                time.sleep(LOOK_S)  # the simulator waits for the processor: let it have ours
                continue
            truth = Truth(
                int(page["t_ns"][0]),
                page["qpos"][0, : int(page["nq"][0])].copy(),
                page["qvel"][0, : int(page["nv"][0])].copy(),
                int(page["resets"][0]),
                bool(page["success"][0]),
                float(page["contact_n"][0]),
                float(page["object_speed_m_s"][0]),
            )
            if int(page["sequence"][0]) == before:
                return truth
        raise RobotError("the twin was ended while it wrote its state; start it again")

    def repeat(self, cameras: Iterable[str]) -> None:
        """From now on these cameras show one picture again and again (simulator only)."""
        self._page["repeating"][0] = sum(1 << CONFIRM_SLOTS[camera] for camera in cameras)

    def repeats(self, camera: str) -> bool:
        """Whether a camera shows one picture again and again."""
        return bool(int(self._page["repeating"][0]) >> CONFIRM_SLOTS[camera] & 1)

    @property
    def t_ns(self) -> int:
        """Robot time of the latest truth [ns]."""
        return int(self._page["t_ns"][0])

    def confirm(self, slot: str, t_ns: int, wall_ns: int) -> None:
        """A watcher says that it has dealt with everything up to robot time `t_ns`."""
        index = CONFIRM_SLOTS[slot]
        self._page["confirmed_ns"][0, index] = t_ns
        self._page["confirmed_wall_ns"][0, index] = wall_ns

    def release(self, slot: str, wall_ns: int) -> None:
        """A watcher signs off: robot time no longer waits for it, until it confirms again."""
        self.confirm(slot, SIGNED_OFF_NS, wall_ns)

    def confirmed(self, slot: str) -> tuple[int, int]:
        """(robot time, steady wall time) of a watcher's last confirmation [ns]; zeros if none."""
        index = CONFIRM_SLOTS[slot]
        return (
            int(self._view["confirmed_ns"][index]),
            int(self._view["confirmed_wall_ns"][index]),
        )
