"""The stages of the flywheel, each a function from folders to folders; composed in `turning`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pld.base_policy.builtin import BuiltinPolicy
from pld.base_policy.builtin_checkpoint import load_checkpoint, save_checkpoint
from pld.base_policy.builtin_network import NetworkConfig, vocabulary_of
from pld.base_policy.builtin_training import BuiltinTrainer, copy_network, fresh_network
from pld.distill.dataset import SftDataset
from pld.distill.episodes import write_episode
from pld.distill.sft import SftConfig, fine_tune
from pld.evaluation.results import EpisodeResult, Evaluation
from pld.files import read_json, write_json_atomically
from pld.flywheel.collecting import collect_successes
from pld.flywheel.learnable import learnable
from pld.flywheel.rolling import Cast, Rolled, Specialist, roll, specialist_env
from pld.flywheel.stage import Meter
from pld.flywheel.world import World
from pld.probing.horizon import latest_takeover, sample_takeover_step, takeover_of_seed
from pld.residual.actor import load_actor
from pld.residual.checkpoint import resume
from pld.residual.checkpoint import save_checkpoint as save_specialist
from pld.residual.config import ResidualConfig
from pld.residual.export import exported_actor
from pld.residual.trainer import SpecialistTrainer

POLICY_FILE = "policy.safetensors"
ACTOR_FILE = "actor.safetensors"
RESUME_FILE = ".training.safetensors"
CURVE_FILE = "curve.json"
EVALUATION_FILE = "evaluation.json"
CHECKPOINT_EVERY_UNITS = 20
FILMS = 8


def collect_demonstrations(
    folder: Path,
    world: World,
    seeds: Sequence[int],
    wanted: int,
    meter: Meter,
    region: str | None = None,
) -> dict[str, Any]:
    """Successful episodes of the scripted demonstrator, from the starts that people choose.

    With `region`, all of them begin there.
    """
    shown = world.demonstrated(region)
    cast = Cast(shown.demonstrator())
    meter.begin(f"{world.task}: demonstrations", wanted)
    collected = collect_successes(
        folder, seeds, wanted, lambda seed, _: roll(shown, seed, cast, keep=True), meter
    )
    meter.end()
    return collected.as_figures()


def train_base(
    folder: Path,
    demonstrations: Sequence[Path],
    network: NetworkConfig,
    config: SftConfig,
    rate_hz: float,
    meter: Meter,
) -> dict[str, Any]:
    """A base policy from nothing: fresh weights fine-tuned on demonstrations of all tasks."""
    dataset = SftDataset(learnable(demonstrations, rate_hz, "whole"), network.chunk_horizon)
    sizes = replace(network, vocabulary=vocabulary_of(dataset.instructions))
    fresh = fresh_network(sizes, dataset.statistics(), config.seed)
    return _fine_tune(
        folder, BuiltinTrainer(fresh, bf16=config.bf16), dataset, config, rate_hz, meter
    )


def distill(
    folder: Path,
    episodes: Sequence[Path],
    start: Path,
    config: SftConfig,
    rate_hz: float,
    meter: Meter,
    labels: str = "specialist",
    first: int = 0,
) -> dict[str, Any]:
    """Fine-tune the policy `start` on recorded successes; the original file is not touched.

    `labels` as FlywheelConfig's: only what the specialist did is learned from, or all of it. With
    `first`, no more than so many episodes of each folder.
    """
    checkpoint = load_checkpoint(start)
    kept = learnable(episodes, rate_hz, labels, first)
    dataset = SftDataset(kept, checkpoint.network.config.chunk_horizon)
    trainer = BuiltinTrainer(copy_network(checkpoint.network), bf16=config.bf16)
    return _fine_tune(folder, trainer, dataset, config, rate_hz, meter)


def _fine_tune(
    folder: Path,
    trainer: BuiltinTrainer,
    dataset: SftDataset,
    config: SftConfig,
    rate_hz: float,
    meter: Meter,
) -> dict[str, Any]:
    meter.begin(f"{folder.name}: SFT on {len(dataset)} frames", config.steps)
    report = fine_tune(
        trainer,
        dataset,
        config,
        folder / RESUME_FILE,
        lambda step, loss: meter.update(step, f"loss {loss:.3f}"),
    )
    saved = save_checkpoint(
        folder / POLICY_FILE, trainer.network, dataset.tasks, dataset.instructions, rate_hz
    )
    (folder / RESUME_FILE).unlink(missing_ok=True)
    meter.end(f"loss {report.loss:.3f}")
    return {"policy_id": saved.policy_id, "loss": report.loss, "frames": len(dataset)}


def train_specialist(
    folder: Path,
    world: World,
    base: Path,
    config: ResidualConfig,
    execute_horizon: int,
    meter: Meter,
) -> dict[str, Any]:
    """A residual over the frozen base; checkpoints in `folder`, the averaged actor at the end."""
    policy = BuiltinPolicy.load(base, world.task)
    env = specialist_env(world, policy, execute_horizon)
    trainer = SpecialistTrainer(env, config, sample_takeover_step)
    curve = _Curve(folder / ".state", trainer)
    meter.begin(f"{world.task}: specialist", config.online_steps)
    units = itertools.count(1)

    def on_unit(_: SpecialistTrainer) -> None:
        curve.note()
        learned = min(trainer.progress.learned_steps, config.online_steps)
        meter.update(learned, curve.described())
        if next(units) % CHECKPOINT_EVERY_UNITS == 0:
            curve.save()

    trainer.run(on_unit)
    meter.end()
    exported_actor(trainer, policy.policy_id).save(folder / ACTOR_FILE)
    write_json_atomically(folder / CURVE_FILE, curve.points)
    return _specialist_figures(trainer) | {"steps_to_90_percent": steps_to(curve.points, 0.9)}


def steps_to(points: Sequence[Sequence[int]], share: float, window: int = 50) -> int | None:
    """Environment steps after which `share` of the last `window` training episodes succeeded."""
    for end in range(window, len(points) + 1):
        if sum(success for _, success in points[end - window : end]) >= share * window:
            return int(points[end - 1][0])
    return None


class _Curve:
    """Outcome of every episode at a new start over environment steps, resumed with the trainer.

    A decision counts as all its control steps, the last one of an episode too.
    """

    def __init__(self, state: Path, trainer: SpecialistTrainer) -> None:
        self._state, self._trainer = state, trainer
        resumed = resume(state, trainer)
        kept = read_json(state / CURVE_FILE) if resumed else []
        self.points: list[list[int]] = kept[: trainer.progress.online_episodes]

    def note(self) -> None:
        """Add the episode that just ended, if it was an online one."""
        progress, episode = self._trainer.progress, self._trainer.last_episode
        if episode is not None and progress.online_episodes > len(self.points):
            steps = progress.decisions * self._trainer.config.decision_steps
            self.points.append([steps, int(episode.success)])

    def described(self) -> str:
        """Phase and recent successes."""
        recent = [success for _, success in self.points[-50:]]
        return f"{self._trainer.progress.phase}, {sum(recent)} of last {len(recent)}"

    def save(self) -> None:
        """Write curve and checkpoint; the curve first, since a longer one is cut on resuming."""
        write_json_atomically(self._state / CURVE_FILE, self.points)
        save_specialist(self._state, self._trainer)


def _specialist_figures(trainer: SpecialistTrainer) -> dict[str, Any]:
    progress = trainer.progress
    return {
        "base_episodes": progress.base_episodes,
        "base_successes": progress.base_successes,
        "horizon_steps": progress.horizon_steps * trainer.config.decision_steps,
        "learned_steps": progress.learned_steps,
        "environment_steps": progress.decisions * trainer.config.decision_steps,
        "online_episodes": progress.online_episodes,
        "online_successes": progress.online_successes,
        "searches": progress.searches,
        "search_successes": progress.search_successes,
        "diverged_episodes": progress.diverged_episodes,
    }


def load_specialist(base: Path, specialist: Path, task: str) -> Specialist:
    """The frozen base with the residual that was trained over it; refuses any other base."""
    return Specialist(BuiltinPolicy.load(base, task), load_actor(specialist, task))


def probe(
    folder: Path,
    world: World,
    cast: Cast,
    seeds: Sequence[int],
    wanted: int,
    alpha: float,
    horizon_steps: int,
    meter: Meter,
    *,
    tries: int = 1,
) -> dict[str, Any]:
    """Whole successful episodes: the prefix first, the specialist from a sampled step on.

    A start that failed is tried again, `tries` times in all, with another takeover step and a
    specialist that searches.
    """

    def roll_seed(seed: int, attempt: int) -> Rolled:
        takeover = takeover_of_seed(seed, latest_takeover(alpha, horizon_steps), attempt)
        tried = replace(cast, takeover_step=takeover, search=attempt or None)
        return roll(world, seed, tried, keep=True)

    meter.begin(f"{world.task}: probing, alpha {alpha:g}", wanted)
    collected = collect_successes(folder, seeds, wanted, roll_seed, meter, tries)
    meter.end()
    return collected.as_figures()


def evaluate(
    folder: Path,
    world: World,
    cast: Cast,
    name: str,
    seeds: Sequence[int],
    run_seed: int,
    meter: Meter,
) -> dict[str, Any]:
    """One episode per seed; outcomes in one JSON, frames of the first few beside it."""
    meter.begin(f"{world.task}: evaluate {name}", len(seeds))
    start_s = meter.cpu_s()
    results = []
    for index, seed in enumerate(seeds):
        results.append(_evaluated(folder, world, cast, seed, film=index < FILMS))
        meter.update(index + 1, f"{sum(r.success for r in results)} successes")
    evaluation = Evaluation(
        name, world.task, cast.policy_id, run_seed, tuple(results), meter.cpu_s() - start_s
    )
    write_json_atomically(folder / EVALUATION_FILE, evaluation.as_json())
    meter.end(str(evaluation.rate))
    return {"rate": [evaluation.rate.k, evaluation.rate.n], "name": name}


def _evaluated(folder: Path, world: World, cast: Cast, seed: int, *, film: bool) -> EpisodeResult:
    log = folder / ".episodes" / f"{seed}.json"
    if log.exists():
        return EpisodeResult(**read_json(log))
    rolled = roll(world, seed, cast, keep=film)
    if rolled.episode is not None:
        write_episode(folder / "films" / f"film-{seed}.safetensors", rolled.episode)
    result = EpisodeResult(
        seed, rolled.success, rolled.steps, rolled.region, rolled.reason, world.task
    )
    write_json_atomically(log, result.__dict__)
    return result
