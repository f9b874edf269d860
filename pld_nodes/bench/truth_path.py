"""Where the arm truly was: the simulator's own positions, followed while faults are injected."""

from __future__ import annotations

import threading
from collections import deque
from functools import cache
from typing import Any

import numpy as np

from pld.twin.link import TwinLink
from pld.types import Array

KEPT = 20_000
PAUSE_S = 0.002
STILL_M_S = 0.01
BEFORE_NS = 100_000_000
"""Who asks whether the arm came to rest, looks from this long before, when it moved."""


class TruthPath:
    """Samples the twin's page in a thread of its own; the last 20,000 samples stay."""

    def __init__(self, link: TwinLink, task: str = "cube_pickup") -> None:
        self._link, self._task = link, task
        self._samples: deque[tuple[int, Array]] = deque(maxlen=KEPT)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True, name="truth")

    def __enter__(self) -> TruthPath:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(2.0)

    @property
    def t_ns(self) -> int:
        """Robot time now [ns]."""
        return self._link.t_ns

    def places(self, from_ns: int, until_ns: int) -> tuple[Array, Array]:
        """Robot times (N,) [ns] and positions (N, 3) [m] of EE in O between two robot times."""
        chosen = [s for s in list(self._samples) if from_ns <= s[0] <= until_ns]
        times = np.array([t for t, _ in chosen], dtype=np.int64)
        return times, ee_positions([qpos for _, qpos in chosen], self._task)

    def _follow(self) -> None:
        last = 0
        while not self._stop.wait(PAUSE_S):
            truth = self._link.read()
            if truth is not None and truth.t_ns != last:
                last = truth.t_ns
                self._samples.append((truth.t_ns, truth.qpos))


def travel_mm(places: Array) -> float:
    """Greatest distance from the first place [mm]; NaN without places."""
    if not len(places):
        return float("nan")
    return float(np.linalg.norm(places - places[0], axis=1).max()) * 1e3


def still_ns(times_ns: Array, places: Array) -> int | None:
    """Robot time [ns] from which on the arm is slower than 1 cm/s.

    None where that cannot be said: it never moved, or it still does at the last of `places`.
    """
    fast = np.linalg.norm(np.diff(places, axis=0), axis=1) > STILL_M_S * np.diff(times_ns) / 1e9
    if not fast.any() or fast[-1]:
        return None
    return int(times_ns[1:][fast][-1])


def ee_positions(configurations: list[Array], task: str) -> Array:
    """Positions (N, 3) [m] of EE in O for generalised positions of the twin in `task`."""
    import mujoco

    model, data, site = _model(task)
    places = np.empty((len(configurations), 3))
    for place, qpos in zip(places, configurations, strict=True):
        data.qpos[:] = qpos
        mujoco.mj_kinematics(model, data)
        place[:] = data.site_xpos[site]
    return places


@cache
def _model(task: str) -> tuple[Any, Any, int]:
    import mujoco

    from pld.twin.scene import EE_SITE, build_model
    from pld.twin.tasks import task_named

    model = build_model(task_named(task))
    return model, mujoco.MjData(model), int(model.site(EE_SITE).id)
