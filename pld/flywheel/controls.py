"""Controls: what else could have explained the distilled policy's gain, run beside it.

Every control gets as many episodes and SFT steps as the distilled policy it is compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pld.evaluation.seeds import Purpose, seed_range
from pld.flywheel import stages
from pld.flywheel.names import ALPHAS, FEWER
from pld.flywheel.turning import Flywheel
from pld.residual.config import control as residual_control


def run_controls(wheel: Flywheel, names: Sequence[str]) -> None:
    """Run the named controls after the flywheel has turned; each is made of resumable stages."""
    for name in names:
        if name == "extra-demonstrations":
            _extra_demonstrations(wheel)
        elif name == "fewer-episodes":
            fewest = min(map(wheel.config.probing_episodes_of, wheel.config.tasks))
            for count in (c for c in FEWER if c < fewest):
                _fewer_episodes(wheel, count)
        elif name == "specialist-only":
            _probing_control(wheel, name, 0.0, wheel.config.rounds)
        elif name == "whole-trajectories":
            _whole_trajectories(wheel)
        elif name == "alpha-sweep":
            for alpha in ALPHAS:
                _probing_control(wheel, f"alpha-{alpha:g}", alpha, 1)
        else:
            for task in wheel.config.tasks:
                _train_control(wheel, name, task)
            wheel.evaluate(f"control-{name}")


def _extra_demonstrations(wheel: Flywheel) -> None:
    """SFT of the base on as many more demonstrations as the rounds gave episodes."""
    episodes, rounds = _more_demonstrations(wheel), wheel.config.rounds
    _distill_and_evaluate(wheel, "control-extra-demonstrations", episodes, rounds, "whole")


def _more_demonstrations(wheel: Flywheel) -> list[Path]:
    """Folders of as many more demonstrations of each task as the rounds gave episodes."""
    config, name = wheel.config, "control-extra-demonstrations-episodes"
    for task in config.tasks:
        wanted = config.all_episodes_of(task, config.rounds)
        seeds = seed_range(Purpose.EXTRA_DEMONSTRATION, config.seed)
        wheel.demonstrate(f"{name}/{task}", task, wanted, seeds)
    return [wheel.folder / name / task for task in config.tasks]


def _fewer_episodes(wheel: Flywheel, count: int) -> None:
    """SFT of the base on the first `count` episodes of a task: of the first round, and of people.

    The steps are those of one round, for either.
    """
    probed, labels = wheel.probing_folders(1), wheel.config.labels
    _distill_and_evaluate(wheel, f"control-probing-{count}", probed, 1, labels, count)
    shown = _more_demonstrations(wheel)
    _distill_and_evaluate(wheel, f"control-demonstrations-{count}", shown, 1, "whole", count)


def _whole_trajectories(wheel: Flywheel) -> None:
    """SFT of the base on the rounds' own episodes, the base's prefix included as in the paper."""
    rounds = wheel.config.rounds
    folders = wheel.probing_folders(rounds)
    _distill_and_evaluate(wheel, "control-whole-trajectories", folders, rounds, "whole")


def _probing_control(wheel: Flywheel, control: str, alpha: float, rounds: int) -> None:
    """SFT of the base on probing episodes of one alpha; alpha 0 is the specialist alone."""
    config, name = wheel.config, f"control-{control}"
    for task in config.tasks:
        wheel.probe_into(
            f"{name}-episodes/{task}",
            task,
            "base",
            alpha,
            config.all_episodes_of(task, rounds),
            seed_range(Purpose.SPECIALIST_ONLY, config.seed, round(alpha * 10)),
            min(rounds, config.specialist_rounds),
        )
    episodes = [wheel.folder / f"{name}-episodes" / task for task in config.tasks]
    _distill_and_evaluate(wheel, name, episodes, rounds, config.labels)


def _distill_and_evaluate(
    wheel: Flywheel, name: str, episodes: list[Path], rounds: int, labels: str, first: int = 0
) -> None:
    config = wheel.config
    sft = config.distill_sft_of(config.seed, rounds)
    wheel.distill_into(name, episodes, "base", sft, labels, first)
    wheel.evaluate(name)


def _train_control(wheel: Flywheel, control: str, task: str) -> None:
    """Another way to learn the specialist, over the same base and for as many steps."""
    config, name = wheel.config, f"control-{control}"
    settings = residual_control(control, config.specialist_of(task))
    base = wheel.policy_file("base")
    wheel.stage(
        f"{name}-specialist/{task}",
        {"residual": settings.as_dict(), "execute": config.execute_horizon},
        [base],
        lambda folder: stages.train_specialist(
            folder, wheel.world(task), base, settings, config.execute_horizon, wheel.meter
        ),
    )
