"""The whole flywheel: base, specialists, rounds of probing and distillation, evaluations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pld.base_policy.builtin import BuiltinPolicy
from pld.base_policy.builtin_network import NetworkConfig
from pld.distill.sft import SftConfig
from pld.evaluation.results import evaluation_name
from pld.evaluation.seeds import Purpose, evaluation_seeds, seed_range
from pld.files import read_json
from pld.flywheel import stages
from pld.flywheel.config import FlywheelConfig
from pld.flywheel.kept import remember
from pld.flywheel.names import newest_before, specialist_name
from pld.flywheel.rolling import Cast
from pld.flywheel.stage import DONE, Meter, StageRecord, Work, missing, run_stage
from pld.flywheel.weights import RunWeights, SpecialistFiles
from pld.flywheel.world import World, WorldMaker


class Flywheel(RunWeights):
    """One run in one folder. Every method is a stage that can be called alone and again."""

    def __init__(
        self, folder: Path, config: FlywheelConfig, make_world: WorldMaker, meter: Meter
    ) -> None:
        super().__init__(folder)
        self.config, self.meter = config, meter
        self._make_world = make_world
        self._worlds: dict[str, World] = {}
        self.records: list[StageRecord] = []
        self.on_stage: Callable[[StageRecord], None] | None = None
        remember(folder, config)

    def world(self, task: str) -> World:
        """The world of `task`, made once."""
        if task not in self._worlds:
            self._worlds[task] = self._make_world(task)
        return self._worlds[task]

    def turn(self) -> None:
        """Everything, from nothing to the last round's evaluation."""
        self.base()
        self.evaluate("base")
        for number in range(1, self.config.rounds + 1):
            for task in self.config.tasks:
                self.specialist(task, number)
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
        sft = config.base_sft_of()
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
        region = self.config.demonstrated_in
        settings = {"wanted": wanted, "first": seeds[0]} | ({"region": region} if region else {})
        self.stage(
            name,
            settings,
            [],
            lambda folder: stages.collect_demonstrations(
                folder, self.world(task), seeds, wanted, self.meter, region
            ),
        )

    def specialist(self, task: str, number: int = 1) -> None:
        """Round `number`'s specialist over the newest policy, frozen, and its evaluation.

        A round without one of its own (FlywheelConfig.specialists) keeps the last one.
        """
        if number > self.config.specialist_rounds:
            return
        config, name = self.config.specialist_of(task, number), specialist_name(number)
        base = self.policy_file(newest_before(number))
        self.stage(
            f"{name}/{task}",
            {"residual": config.as_dict(), "execute": self.config.execute_horizon},
            [base],
            lambda folder: stages.train_specialist(
                folder,
                self.world(task),
                base,
                config,
                self.config.execute_horizon,
                self.meter,
            ),
        )
        self.evaluate_as(name, task, self.specialist_files(task, number))

    def probe(self, task: str, number: int) -> None:
        """Round `number`'s episodes: the newest policy first, then the newest specialist."""
        self.probe_into(
            f"probing-{number}/{task}",
            task,
            newest_before(number),
            self.config.probing_alpha_of(number),
            self.config.probing_episodes_of(task, number),
            seed_range(Purpose.PROBING, self.config.seed, number),
            min(number, self.config.specialist_rounds),
        )

    def probe_into(
        self,
        name: str,
        task: str,
        prefix: str,
        alpha: float,
        wanted: int,
        seeds: range,
        specialist: int = 1,
    ) -> None:
        """A probing stage under any name, for rounds and for controls."""
        trained = self.figures(f"{specialist_name(specialist)}/{task}")
        horizon, files = int(trained["horizon_steps"]), self.specialist_files(task, specialist)
        upstream, tries = [self.policy_file(prefix), *files], self.config.probing_tries
        self.stage(
            name,
            {
                "alpha": alpha,
                "wanted": wanted,
                "first": seeds[0],
                "horizon": horizon,
                "tries": tries,
            },
            upstream,
            lambda folder: stages.probe(
                folder,
                self.world(task),
                self.probing_cast(prefix, task, files),
                seeds,
                wanted,
                alpha,
                horizon,
                self.meter,
                tries=tries,
            ),
        )

    def distill(self, number: int) -> None:
        """Fine-tune the newest policy on the successes of all rounds so far."""
        newest, episodes = newest_before(number), self.probing_folders(number)
        sft = self.config.distill_sft_of(self.config.seed * 100 + number)
        self.distill_into(f"distilled-{number}", episodes, newest, sft, self.config.labels)

    def distill_into(
        self,
        name: str,
        episodes: list[Path],
        start: str,
        sft: SftConfig,
        labels: str,
        first: int = 0,
    ) -> None:
        """An SFT stage under any name, for rounds and for controls.

        With `first`, no more than so many episodes of each folder are learned from.
        """
        settings = {"sft": asdict(sft), "labels": labels} | ({"first": first} if first else {})
        policy = self.policy_file(start)
        self.stage(
            name,
            settings,
            [*episodes, policy],
            lambda folder: stages.distill(
                folder, episodes, policy, sft, self._rate_hz(), self.meter, labels, first
            ),
        )

    def evaluate(self, name: str, starts_in: str | None = None) -> None:
        """Evaluate `base`, `specialist[-N]`, `distilled-N`, a control's or what was taken in."""
        for task in self.config.tasks:
            self.evaluate_as(name, task, self.files_of(name, task), starts_in)

    def evaluate_as(
        self,
        name: str,
        task: str,
        files: SpecialistFiles | None = None,
        starts_in: str | None = None,
    ) -> None:
        """One evaluation stage; with `files` of the specialist that is made of them.

        Evaluated with every start in one region, policy P is called `P@REGION`.
        """
        config = self.config
        seeds = evaluation_seeds(config.seed, config.evaluation_episodes)
        world = self.world(task).starting_in(starts_in) if starts_in else self.world(task)
        called = evaluation_name(name, starts_in)
        self.stage(
            f"evaluation/{called}/{task}",
            {"execute": config.execute_horizon},
            list(files) if files else [self.policy_file(name)],
            lambda folder: stages.evaluate(
                folder,
                world,
                self.specialist_cast(task, files) if files else self.cast(name, task),
                called,
                seeds,
                config.seed,
                self.meter,
            ),
            {"seeds": [seeds[0], len(seeds)]},
        )

    def cast(self, name: str, task: str) -> Cast:
        """The policy called `name`, acting alone in `task`."""
        policy = BuiltinPolicy.load(self.policy_file(name), task)
        return Cast(policy, execute_horizon=self.config.execute_horizon)

    def specialist_cast(self, task: str, files: SpecialistFiles) -> Cast:
        """A specialist over its own frozen base, acting alone."""
        specialist = stages.load_specialist(files.base, files.residual, task)
        return Cast(specialist.base, specialist, 0, self.config.execute_horizon)

    def probing_cast(self, prefix: str, task: str, files: SpecialistFiles) -> Cast:
        """The policy called `prefix` first, then the specialist over its own frozen base."""
        cast = self.specialist_cast(task, files)
        if self.policy_file(prefix) == files.base:
            return cast
        return replace(cast, prefix=BuiltinPolicy.load(self.policy_file(prefix), task))

    def probing_folders(self, rounds: int) -> list[Path]:
        """The episodes of the first `rounds` rounds, of all tasks."""
        tasks = self.config.tasks
        return [self.folder / f"probing-{i}" / t for i in range(1, rounds + 1) for t in tasks]

    def figures(self, name: str) -> dict[str, Any]:
        """The figures of a finished stage."""
        done = self.folder / name / DONE
        if not done.exists():
            raise missing(self.folder, name)
        content: dict[str, Any] = read_json(done)["figures"]
        return content

    def stage(
        self,
        name: str,
        settings: dict[str, Any],
        upstream: list[Path],
        work: Work,
        amount: dict[str, Any] | None = None,
    ) -> StageRecord:
        """Run or skip one stage, remember its record and tell `on_stage`."""
        record = run_stage(self.folder, name, settings, upstream, work, self.meter, amount)
        self.records.append(record)
        if self.on_stage is not None:
            self.on_stage(record)
        return record

    def _rate_hz(self) -> float:
        return self.world(self.config.tasks[0]).rate_hz
