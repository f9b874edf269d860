"""Learning from the bags of a running graph: one episode after another, as each is closed.

The trainer is the lockstep one (pld.residual.trainer); only who runs the episodes differs. State
lies in one folder, so a learner that was killed goes on from its last checkpoint and first takes
what was recorded meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pld.base_policy.builtin import BuiltinPolicy
from pld.errors import PldError
from pld.experience import LearnerView, experience
from pld.files import read_json, write_json_atomically
from pld.probing.horizon import sample_takeover_step
from pld.residual.checkpoint import resume, save_checkpoint
from pld.residual.config import ResidualConfig
from pld.residual.episode import Episode
from pld.residual.export import exploring_actor, exported_actor
from pld.residual.protocol import ResidualObservation, StepOutcome
from pld.residual.trainer import Phase, SpecialistTrainer
from pld.rollout_env import SENSOR_DIM
from pld.run_folder import closed_folders
from pld.types import ACTION_DIM, Array

CHECKPOINT_EVERY = 5
RECENT = 50
TAKEN_FILE = "taken.json"
ACTOR_FILE = "actor.safetensors"


@dataclass
class GraphTask:
    """The shape of a task whose episodes somebody else runs; it cannot be stepped."""

    task: str
    feature_dim: int
    max_steps: int
    action_dim: int = ACTION_DIM

    def reset(self, seed: int) -> ResidualObservation:
        """Refuse: the graph runs the episodes."""
        raise PldError(f"episode {seed} of {self.task!r} is run by the graph, not by the learner")

    def step(self, action: Array) -> StepOutcome:
        """Refuse: the graph runs the episodes."""
        raise PldError(f"a step of {self.task!r} is run by the graph, not by the learner")


@dataclass(frozen=True)
class Offer:
    """Weights for the residual node: `path` holds the exploring actor of this `version`.

    `horizon_steps` is the median length of the base's successes [control steps], 0 while unknown:
    until then the base acts alone. `limit_steps` ends the coming episodes as it ends those of the
    lockstep trainer (`ResidualConfig.episode_limit`) [control steps]. `recent` are (successes,
    episodes) of the last with a takeover and without a person's help.
    """

    version: int
    path: Path
    sha256: str
    phase: str
    horizon_steps: int
    limit_steps: int
    episodes: int
    recent: tuple[int, int]


class RunLearner:
    """Trains the specialist of one run over `base` from the run's bags."""

    def __init__(
        self, run_dir: Path, base: BuiltinPolicy, config: ResidualConfig, task: GraphTask
    ) -> None:
        self._run_dir, self._folder = run_dir, run_dir / "learner"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._base_id = base.policy_id
        self._view = LearnerView(base, config.decision_steps, config.gamma)
        self.trainer = SpecialistTrainer(task, config, sample_takeover_step)
        resumed = resume(self._folder / "state", self.trainer)
        kept = read_json(self._folder / TAKEN_FILE) if resumed else []
        self._taken: list[list[object]] = kept[: self.trainer.progress.episodes]
        self.skipped: dict[str, str] = {}
        self._failed = False

    @classmethod
    def of_run(
        cls, run_dir: Path, base: BuiltinPolicy, config: ResidualConfig, task: str, max_steps: int
    ) -> RunLearner:
        """A learner for episodes of at most `max_steps` control steps."""
        shape = GraphTask(task, base.feature_dim + SENSOR_DIM, max_steps)
        return cls(run_dir, base, config, shape)

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to learn in this run."""
        return self.trainer.finished

    def catch_up(self, on_episode: Callable[[], None] | None = None) -> int:
        """Learn from every closed episode that was not taken yet, until there is nothing to learn.

        Returns how many were; `on_episode` is called after each.
        """
        known = {str(name) for name, *_ in self._taken} | set(self.skipped)
        count = 0
        for folder in closed_folders(self._run_dir):
            if folder.name in known or self.finished:
                continue
            self._take(folder)
            count += 1
            if on_episode is not None:
                on_episode()
        return count

    def _take(self, folder: Path) -> None:
        try:
            episode = experience(folder, self._view)
        except PldError as error:
            self.skipped[folder.name] = str(error)
            return
        if not self._fits(episode):
            self.skipped[folder.name] = "of a phase that is over"
            return
        self._failed = True
        self._learn(episode)
        self._failed = False
        counts = episode.with_specialist and not episode.helped
        self._taken.append([folder.name, bool(episode.success), counts])
        if len(self._taken) % CHECKPOINT_EVERY == 0 or self.finished:
            self.save()

    def _fits(self, episode: Episode) -> bool:
        """Whether the episode is of the kind that this phase learns from."""
        return episode.with_specialist == (self.trainer.progress.phase is not Phase.WARM_UP)

    def _learn(self, episode: Episode) -> None:
        trainer = self.trainer
        if trainer.progress.phase is Phase.WARM_UP:
            trainer.take_base_episode(episode)
            self._pretrain()
        else:
            trainer.take_online_episode(episode)

    def _pretrain(self) -> None:
        """Train the critics on the base's episodes, once the warm-up is over."""
        while self.trainer.progress.phase is Phase.PRETRAINING:
            self.trainer.advance()

    def save(self) -> None:
        """Write list and checkpoint; the list first, since a longer one is cut on resuming.

        After a failure inside an episode nothing is written: the last checkpoint is whole.
        """
        if self._failed:
            return
        write_json_atomically(self._folder / TAKEN_FILE, self._taken)
        (self._folder / "state").mkdir(exist_ok=True)
        save_checkpoint(self._folder / "state", self.trainer)

    def offer(self) -> Offer:
        """Write the exploring actor as the next version, and the averaged one for evaluation."""
        progress = self.trainer.progress
        version = progress.episodes
        path = self._folder / f"exploring-{version:06d}.safetensors"
        digest = exploring_actor(self.trainer, self._base_id).save(path)
        exported_actor(self.trainer, self._base_id).save(self._folder / ACTOR_FILE)
        for old in sorted(self._folder.glob("exploring-*.safetensors"))[:-3]:
            old.unlink()
        outcomes = [bool(success) for _, success, counts in self._taken if counts]
        recent = outcomes[-RECENT:]
        online = progress.phase in (Phase.ONLINE, Phase.FINISHED)
        decision_steps = self.trainer.config.decision_steps
        horizon = progress.horizon_steps * decision_steps
        return Offer(
            version,
            path,
            digest,
            progress.phase.value,
            horizon if online else 0,
            self.trainer.episode_limit() * decision_steps,
            progress.episodes,
            (sum(recent), len(recent)),
        )
