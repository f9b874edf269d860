"""The whole flywheel: base, specialists, rounds of probing and distillation, evaluations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pld.base_policy.builtin import BuiltinPolicy
from pld.base_policy.builtin_network import NetworkConfig
from pld.distill.sft import SftConfig
from pld.errors import ConfigError
from pld.evaluation.seeds import Purpose, evaluation_seeds, seed_range
from pld.files import read_json, write_json_atomically
from pld.flywheel import stages
from pld.flywheel.config import FlywheelConfig
from pld.flywheel.rolling import Cast
from pld.flywheel.stage import Meter, StageRecord, run_stage
from pld.flywheel.world import World, WorldMaker

CONFIG_FILE = "config.json"


class Flywheel:
    """One run in one folder. Every method is a stage that can be called alone and again."""

    def __init__(
        self, folder: Path, config: FlywheelConfig, make_world: WorldMaker, meter: Meter
    ) -> None:
        self.folder, self.config, self.meter = folder, config, meter
        self._make_world = make_world
        self._worlds: dict[str, World] = {}
        self.records: list[StageRecord] = []
        self.on_stage: Callable[[StageRecord], None] | None = None
        _remember(folder, config)

    def world(self, task: str) -> World:
        """The world of `task`, made once."""
        if task not in self._worlds:
            self._worlds[task] = self._make_world(task)
        return self._worlds[task]

    def turn(self) -> None:
        """Everything, from nothing to the last round's evaluation."""
        self.base()
        self.evaluate("base")
        for task in self.config.tasks:
            self.specialist(task)
        self.evaluate("specialist")
        for number in range(1, self.config.rounds + 1):
            for task in self.config.tasks:
                self.probe(task, number)
            self.distill(number)
            self.evaluate(f"distilled-{number}")

    def base(self) -> None:
        """Demonstrations of every task, then one base policy for all."""
        config = self.config
        for task in config.tasks:
            self.demonstrate(
                f"demonstrations/{task}",
                task,
                config.demonstrations_of(task),
                seed_range(Purpose.DEMONSTRATION, config.seed),
            )
        network = NetworkConfig(chunk_horizon=config.chunk_horizon)
        sft = replace(config.base_sft, seed=config.seed)
        demonstrations = [self.folder / "demonstrations" / task for task in config.tasks]
        self.stage(
            "base",
            {"network": asdict(network), "sft": asdict(sft)},
            demonstrations,
            lambda folder: stages.train_base(
                folder, demonstrations, network, sft, self._rate_hz(), self.meter
            ),
        )

    def demonstrate(self, name: str, task: str, wanted: int, seeds: range) -> None:
        """A stage of scripted demonstrations under any name, for the base and for controls."""
        self.stage(
            name,
            {"wanted": wanted, "first": seeds[0]},
            [],
            lambda folder: stages.collect_demonstrations(
                folder, self.world(task), seeds, wanted, self.meter
            ),
        )

    def specialist(self, task: str) -> None:
        """The residual specialist of one task over the frozen base."""
        config = self.config.specialist_of(task)
        self.stage(
            f"specialist/{task}",
            {"residual": config.as_dict(), "execute": self.config.execute_horizon},
            [self.policy_file("base")],
            lambda folder: stages.train_specialist(
                folder,
                self.world(task),
                self.policy_file("base"),
                config,
                self.config.execute_horizon,
                self.meter,
            ),
        )

    def probe(self, task: str, number: int) -> None:
        """Round `number`'s episodes: the newest policy first, then the specialist."""
        newest = "base" if number == 1 else f"distilled-{number - 1}"
        self.probe_into(
            f"probing-{number}/{task}",
            task,
            newest,
            self.config.probing_alpha,
            self.config.probing_episodes,
            seed_range(Purpose.PROBING, self.config.seed, number),
        )

    def probe_into(
        self, name: str, task: str, prefix: str, alpha: float, wanted: int, seeds: range
    ) -> None:
        """A probing stage under any name, for rounds and for controls."""
        horizon = int(self.figures(f"specialist/{task}")["horizon_steps"])
        upstream = [self.policy_file(prefix), self.policy_file("base"), self.actor_file(task)]
        self.stage(
            name,
            {"alpha": alpha, "wanted": wanted, "first": seeds[0], "horizon": horizon},
            upstream,
            lambda folder: stages.probe(
                folder,
                self.world(task),
                self.probing_cast(prefix, task),
                seeds,
                wanted,
                alpha,
                horizon,
                self.meter,
            ),
        )

    def distill(self, number: int) -> None:
        """Fine-tune the newest policy on the successes of all rounds so far."""
        newest = "base" if number == 1 else f"distilled-{number - 1}"
        episodes = self.probing_folders(number)
        sft = replace(self.config.distill_sft, seed=self.config.seed * 100 + number)
        self.distill_into(f"distilled-{number}", episodes, newest, sft, self.config.labels)

    def distill_into(
        self, name: str, episodes: list[Path], start: str, sft: SftConfig, labels: str
    ) -> None:
        """An SFT stage under any name, for rounds and for controls."""
        self.stage(
            name,
            {"sft": asdict(sft), "labels": labels},
            [*episodes, self.policy_file(start)],
            lambda folder: stages.distill(
                folder, episodes, self.policy_file(start), sft, self._rate_hz(), self.meter, labels
            ),
        )

    def evaluate(self, name: str) -> None:
        """Evaluate `base`, `specialist`, `distilled-N` or a control's policy on every task."""
        for task in self.config.tasks:
            self.evaluate_as(name, task)

    def evaluate_as(self, name: str, task: str, residual: Path | None = None) -> None:
        """One evaluation stage; with `residual` of the specialist that is made of it."""
        config, base = self.config, self.policy_file("base")
        residual = self.actor_file(task) if name == "specialist" else residual
        seeds = evaluation_seeds(config.seed, config.evaluation_episodes)
        self.stage(
            f"evaluation/{name}/{task}",
            {"seeds": [seeds[0], len(seeds)], "execute": config.execute_horizon},
            [base, residual] if residual else [self.policy_file(name)],
            lambda folder: stages.evaluate(
                folder,
                self.world(task),
                self.specialist_cast(task, residual) if residual else self.cast(name, task),
                name,
                seeds,
                config.seed,
                self.meter,
            ),
        )

    def cast(self, name: str, task: str) -> Cast:
        """The policy called `name`, acting alone in `task`."""
        policy = BuiltinPolicy.load(self.policy_file(name), task)
        return Cast(policy, execute_horizon=self.config.execute_horizon)

    def specialist_cast(self, task: str, residual: Path) -> Cast:
        """A specialist over the run's base, acting alone."""
        specialist = stages.load_specialist(self.policy_file("base"), residual, task)
        return Cast(specialist.base, specialist, 0, self.config.execute_horizon)

    def probing_cast(self, prefix: str, task: str) -> Cast:
        """The policy called `prefix` first, then the specialist over its own frozen base."""
        cast = self.specialist_cast(task, self.actor_file(task))
        if prefix == "base":
            return cast
        return replace(cast, prefix=BuiltinPolicy.load(self.policy_file(prefix), task))

    def probing_folders(self, rounds: int) -> list[Path]:
        """The episodes of the first `rounds` rounds, of all tasks."""
        tasks = self.config.tasks
        return [self.folder / f"probing-{i}" / t for i in range(1, rounds + 1) for t in tasks]

    def policy_file(self, name: str) -> Path:
        """Weights of the policy called `name`."""
        return self.folder / name / stages.POLICY_FILE

    def actor_file(self, task: str) -> Path:
        """Weights of the residual of `task`."""
        return self.folder / "specialist" / task / stages.ACTOR_FILE

    def figures(self, name: str) -> dict[str, Any]:
        """The figures of a finished stage."""
        content: dict[str, Any] = read_json(self.folder / name / "done.json")["figures"]
        return content

    def stage(
        self, name: str, settings: dict[str, Any], upstream: list[Path], work: stages.StageWork
    ) -> StageRecord:
        """Run or skip one stage, remember its record and tell `on_stage`."""
        record = run_stage(self.folder, name, settings, upstream, work, self.meter)
        self.records.append(record)
        if self.on_stage is not None:
            self.on_stage(record)
        return record

    def _rate_hz(self) -> float:
        return self.world(self.config.tasks[0]).rate_hz


def _remember(folder: Path, config: FlywheelConfig) -> None:
    path = folder / CONFIG_FILE
    now = config.as_dict()
    if not path.exists():
        write_json_atomically(path, now)
        return
    before = read_json(path)
    same = ("tasks", "seed")
    for name in same:
        if before[name] != (list(now[name]) if isinstance(now[name], tuple) else now[name]):
            raise ConfigError(
                f"{str(folder)!r} holds a run with {name} {before[name]!r}, not {now[name]!r}; "
                "choose another folder with --run"
            )
    write_json_atomically(path, now)
