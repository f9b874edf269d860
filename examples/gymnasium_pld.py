"""Probe and learn on a Gymnasium task: a plug with a half-good base policy.

    .venv/bin/python examples/gymnasium_pld.py      # half a minute on one core; --help


The plug has to enter a narrow slot from above. The base aims at the slot with a constant error of
its own that it does not notice, so it gets stuck on the rim in about half of the starts: what a
residual can mend.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces

from pld.gym import GymnasiumTask, evaluate, probe, task_config, train_specialist

STEP = 0.08
SLOT_HALF_WIDTH = 0.06


class Plug(gymnasium.Env[np.ndarray, np.ndarray]):
    """A point (x, y) above a table with a slot at `slot`; success when it is deep in the slot.

    Observation (3,): x, y and where the slot is. Action (2,): motion, one unit is 0.08.
    """

    observation_space = spaces.Box(-2.0, 2.0, (3,))
    action_space = spaces.Box(-1.0, 1.0, (2,))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Place the plug above the table and the slot somewhere on it."""
        super().reset(seed=seed)
        self.at = np.array([self.np_random.uniform(-0.8, 0.8), self.np_random.uniform(0.5, 0.9)])
        self.slot = self.np_random.uniform(-0.5, 0.5)
        return self._seen(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Move; the table stops whatever is not over the slot."""
        wanted = self.at + STEP * np.clip(action, -1.0, 1.0)
        inside = self.at[1] < 0.0
        if inside:
            wanted[0] = np.clip(wanted[0], self.slot - SLOT_HALF_WIDTH, self.slot + SLOT_HALF_WIDTH)
        elif abs(wanted[0] - self.slot) > SLOT_HALF_WIDTH:
            wanted[1] = max(wanted[1], 0.0)
        self.at = np.clip(wanted, [-1.0, -0.3], [1.0, 1.0])
        success = bool(self.at[1] < -0.2)
        return self._seen(), float(success), success, False, {"is_success": success}

    def _seen(self) -> np.ndarray:
        return np.array([*self.at, self.slot])


@dataclass
class HalfGoodBase:
    """Aims at the slot, but is wrong by up to 0.12 in a way that depends on where the slot is."""

    error: float = 0.12

    def __call__(self, seen: np.ndarray) -> np.ndarray:
        """The base's action (2,) for an observation (3,)."""
        x, y, slot = seen
        aim = slot + self.error * np.sin(7.0 * slot)
        down = -1.0 if abs(x - aim) < 0.05 or y < 0.0 else 0.2 - y
        return np.clip([4.0 * (aim - x), down], -1.0, 1.0)


def count(word: str, most: int = 10**9) -> int:
    """A number from 1 to `most`."""
    if not 1 <= (number := int(word)) <= most:
        raise argparse.ArgumentTypeError(f"{number} is not from 1 to {most}")
    return number


def fresh_count(word: str) -> int:
    """How many seeds from 90,000 on: from 100,000 on they are training's."""
    return count(word, 10_000)


def main() -> None:
    """Train a specialist and compare it with its base on fresh seeds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=count, default=2000, help="decisions to learn from")
    parser.add_argument(
        "--episodes", type=fresh_count, default=100, help="fresh episodes to evaluate on"
    )
    parser.add_argument("--seed", type=int, choices=range(100), default=0, metavar="0-99")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    began = time.process_time()
    task = GymnasiumTask(Plug(), HalfGoodBase(), name="plug", max_steps=40)
    # One step moves little, so a decision is kept for three: 0.91 is 0.97 per step.
    held = {"decision_steps": 3, "gamma": 0.91, "n_step": 3, "tau": 0.05}
    config = task_config(task, seed=options.seed, online_steps=options.steps, **held)
    actor = train_specialist(task, config)
    fresh = range(90_000, 90_000 + options.episodes)
    print(f"trained in {time.process_time() - began:.0f} CPU s")
    results = {"base": evaluate(task, None, fresh), "specialist": evaluate(task, actor, fresh)}
    for name, result in results.items():
        print(f"{name:<10} {result}")
    probed = probe(task, actor, wanted=20, first_seed=80_000)
    print(f"probing    {len(probed)} whole successes, {sum(map(len, probed))} steps")
    if options.json:
        figures = {name: {"successes": r.rate.k, "trials": r.rate.n} for name, r in results.items()}
        options.json.write_text(json.dumps(figures | {"seed": options.seed}) + "\n")


if __name__ == "__main__":
    main()
