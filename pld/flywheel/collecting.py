"""Collecting a number of successful episodes into a folder, resumable after any episode."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pld.distill.episodes import episode_path, write_episode
from pld.errors import PldError
from pld.evaluation.results import Rate
from pld.files import read_json, write_json_atomically
from pld.flywheel.rolling import Rolled
from pld.flywheel.stage import Meter

ATTEMPTS_PER_SUCCESS = 20


class TooFewSuccessesError(PldError):
    """So few episodes succeed that collecting them would not end."""


@dataclass(frozen=True)
class Collected:
    """How many episodes were rolled, and by region how many of them succeeded."""

    attempts: int
    successes: int
    frames: int
    specialist_frames: int
    regions: dict[str, Rate]
    takeover_steps: tuple[int, ...]

    def as_figures(self) -> dict[str, object]:
        """Plain values for a stage's record."""
        return {
            "attempts": self.attempts,
            "successes": self.successes,
            "frames": self.frames,
            "specialist_frames": self.specialist_frames,
            "regions": {r: [v.k, v.n] for r, v in self.regions.items()},
            "takeover_steps": list(self.takeover_steps),
        }


def collect_successes(
    folder: Path,
    seeds: Iterable[int],
    wanted: int,
    roll_seed: Callable[[int, int], Rolled],
    meter: Meter,
    tries: int = 1,
) -> Collected:
    """Roll seeds until `wanted` succeeded; successes lie in `folder`, failures are counted.

    `roll_seed` takes a seed and the number of the attempt at it, from 0: a start that failed is
    tried again, `tries` times in all, so that starts where it is hard to succeed are not lost.
    Raises TooFewSuccessesError when fewer than one start in ATTEMPTS_PER_SUCCESS succeeds.
    """
    facts: list[dict[str, object]] = []
    kept = 0
    for starts, seed in enumerate(seeds):
        if kept == wanted:
            break
        if starts >= ATTEMPTS_PER_SUCCESS * (kept + 1):
            raise TooFewSuccessesError(
                f"{kept} of {len(facts)} episodes succeeded, {wanted} successes are needed; "
                "improve the policy that collects (more demonstrations or training)"
            )
        for attempt in range(tries):
            facts.append(_attempt(folder, seed, attempt, roll_seed))
            if facts[-1]["success"]:
                kept += 1
                break
        meter.update(kept, f"{len(facts)} episodes")
    return _summary(facts)


def _log(folder: Path, seed: int, attempt: int) -> Path:
    again = f"-{attempt}" if attempt else ""
    return folder / "attempts" / f"{seed}{again}.json"


def seed_of_log(log: Path) -> int:
    """The seed of the start that an attempt's file tells of."""
    return int(log.stem.split("-")[0])


def _attempt(
    folder: Path, seed: int, attempt: int, roll_seed: Callable[[int, int], Rolled]
) -> dict[str, object]:
    log = _log(folder, seed, attempt)
    if log.exists():
        content: dict[str, object] = read_json(log)
        return content
    rolled = roll_seed(seed, attempt)
    episode = rolled.episode
    if rolled.success and episode is not None:
        write_episode(episode_path(folder, seed), episode)
    fact: dict[str, object] = {
        "seed": seed,
        "success": rolled.success,
        "region": rolled.region,
        "steps": rolled.steps,
        "takeover_step": rolled.takeover_step,
        "specialist_steps": episode.specialist_steps if episode is not None else 0,
        "reason": rolled.reason,
    }
    write_json_atomically(log, fact)
    return fact


def _summary(facts: list[dict[str, object]]) -> Collected:
    good = [f for f in facts if f["success"]]
    return Collected(
        attempts=len(facts),
        successes=len(good),
        frames=sum(int(str(f["steps"])) for f in good),
        specialist_frames=sum(int(str(f["specialist_steps"])) for f in good),
        regions=dict(_regions(facts)),
        takeover_steps=tuple(int(str(f["takeover_step"])) for f in good),
    )


def _regions(facts: list[dict[str, object]]) -> Iterator[tuple[str, Rate]]:
    for region in sorted({str(f["region"]) for f in facts}):
        here = [bool(f["success"]) for f in facts if f["region"] == region]
        yield region, Rate(sum(here), len(here))
