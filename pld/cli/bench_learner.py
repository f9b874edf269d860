"""`pld bench learner`: updates per second of the residual learner against plain SAC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pld.cli.options import JsonOption
from pld.files import write_json_atomically

if TYPE_CHECKING:
    from stable_baselines3.sac import SAC

    from pld.residual.config import ResidualConfig
    from pld.residual.sac import ResidualSac

ACTION_DIM = 7
STORED = 4000
WARM_UPDATES = 20


def bench_learner(
    features: Annotated[
        int | None,
        typer.Option(
            min=1, help="entries of the feature vector; default: a specialist's over our VLA"
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(help="interleaved rounds", min=3)] = 12,
    updates: Annotated[int, typer.Option(help="updates per round", min=10)] = 60,
    json_file: JsonOption = None,
) -> None:
    """Time critic and actor updates beside stable-baselines3's SAC of the same sizes.

    Both take one critic and one actor update per batch of the same size, in turns, on one thread;
    times are CPU seconds of this process. A third column is the learner as configured, with fewer
    actor updates. Exits with 1 when the learner is slower than plain SAC.
    """
    import torch

    torch.set_num_threads(1)
    figures = measure(features or specialist_features(), rounds, updates)
    _show(figures)
    if json_file is not None:
        write_json_atomically(json_file, figures)
    if figures["ratio"]["median"] < 1.0:
        raise typer.Exit(1)


def specialist_features() -> int:
    """Entries of what a specialist over the built-in VLA sees beside the base action."""
    from pld.base_policy.builtin_network import NetworkConfig
    from pld.rollout_env import SENSOR_DIM

    return NetworkConfig().feature_dim + SENSOR_DIM


def measure(features: int, rounds: int, updates: int) -> dict[str, Any]:
    """The figures: updates per CPU second by kind, the ratio per round, the profile."""
    from dataclasses import replace

    import numpy as np

    from pld.residual.config import ResidualConfig

    config = ResidualConfig()
    learners = {
        "plain": _plain(features, config),
        "residual": _residual(features, replace(config, actor_every=1)),
        "as configured": _residual(features, config),
    }
    seconds: dict[str, list[float]] = {name: [] for name in learners}
    for round_index in range(-1, rounds):
        for name, learner in learners.items():
            spent = _timed(learner, WARM_UPDATES if round_index < 0 else updates, config)
            if round_index >= 0:
                seconds[name].append(spent)
    ratios = np.array(seconds["plain"]) / np.array(seconds["residual"])
    rates = {name: float(updates / np.median(values)) for name, values in seconds.items()}
    return {
        "settings": {"features": features, "rounds": rounds, "updates": updates},
        "updates_per_s": {name: _rates(name, rate, config) for name, rate in rates.items()},
        "ratio": _spread(ratios),
        "ratio_as_configured": _spread(
            np.array(seconds["plain"]) / np.array(seconds["as configured"])
        ),
        "profile": _profile(learners["residual"], config),
    }


def _rates(name: str, rate: float, config: ResidualConfig) -> dict[str, float]:
    every = config.actor_every if name == "as configured" else 1
    return {"critic": rate, "actor": rate / every}


def _spread(ratios: Any) -> dict[str, float]:
    import numpy as np

    low, median, high = np.percentile(ratios, [10, 50, 90])
    return {"median": float(median), "p10": float(low), "p90": float(high)}


def _timed(learner: SAC, updates: int, config: ResidualConfig) -> float:
    import time

    began = time.process_time()
    learner.train(updates, config.batch_size)
    return time.process_time() - began


def _plain(features: int, config: ResidualConfig) -> SAC:
    import numpy as np
    from gymnasium import spaces
    from stable_baselines3.common.logger import Logger
    from stable_baselines3.sac import SAC

    learner = SAC(
        "MlpPolicy",
        None,  # type: ignore[arg-type]
        batch_size=config.batch_size,
        buffer_size=config.replay_capacity,
        target_entropy=-float(ACTION_DIM),
        policy_kwargs={"net_arch": list(config.hidden), "n_critics": config.n_critics},
        device="cpu",
        _init_setup_model=False,
    )
    learner.observation_space = spaces.Box(-np.inf, np.inf, (features + ACTION_DIM,))
    learner.action_space = spaces.Box(-1.0, 1.0, (ACTION_DIM,))
    learner.n_envs = 1
    learner._setup_model()
    learner.set_logger(Logger(None, []))
    rng = np.random.default_rng(0)
    buffer = learner.replay_buffer
    assert buffer is not None
    buffer.observations[:STORED] = rng.standard_normal((STORED, 1, features + ACTION_DIM))
    buffer.next_observations[:STORED] = rng.standard_normal((STORED, 1, features + ACTION_DIM))
    buffer.actions[:STORED] = rng.uniform(-1, 1, (STORED, 1, ACTION_DIM))
    buffer.pos = STORED
    return learner


def _residual(features: int, config: ResidualConfig) -> ResidualSac:
    import numpy as np

    from pld.residual.episode import Episode
    from pld.residual.sac import ResidualSac

    learner = ResidualSac(features, ACTION_DIM, config)
    learner.set_learned_steps(config.actor_starts)
    rng = np.random.default_rng(0)
    for buffer in (learner.replay_buffer, learner.offline):
        seen = rng.standard_normal((2, STORED, features + ACTION_DIM)).astype(np.float32)
        action = rng.uniform(-1, 1, (STORED, ACTION_DIM)).astype(np.float32)
        flat = np.zeros(STORED, dtype=np.float32)
        buffer.add_episode(Episode(seen[0], action, flat, seen[1], flat, flat, True, STORED, 0, 0))
    return learner


def _profile(learner: Any, config: ResidualConfig) -> dict[str, float]:
    """CPU milliseconds of the parts of one update with one actor update; `other` is the rest."""
    import numpy as np

    batch = learner.sample()
    parts = {
        "sampling both buffers": learner.sample,
        "targets (no gradient)": lambda: learner.td_loss(batch, ()),
        "critics forward": lambda: learner.critic(batch.observations, batch.actions),
        "actor update": lambda: learner.update_actor(batch.observations),
    }
    spent = {name: _milliseconds(part) for name, part in parts.items()}
    whole = float(np.median([_timed(learner, 10, config) * 100.0 for _ in range(5)]))
    spent["critics backward, Adam, Polyak"] = max(0.0, whole - sum(spent.values()))
    return {**spent, "one update": whole}


def _milliseconds(part: Any, repeats: int = 30) -> float:
    import time

    began = time.process_time()
    for _ in range(repeats):
        part()
    return (time.process_time() - began) / repeats * 1e3


def _show(figures: dict[str, Any]) -> None:
    from pld.cli.screen import PlainTable, wide_console

    console = wide_console()
    table = PlainTable("learner", "critic updates/s", "actor updates/s")
    for name, rates in figures["updates_per_s"].items():
        table.add_row(name, f"{rates['critic']:.0f}", f"{rates['actor']:.0f}")
    console.print(table)
    for name in ("ratio", "ratio_as_configured"):
        r = figures[name]
        console.print(
            f"{name.replace('_', ' ')} to plain SAC: {r['median']:.2f} "
            f"[{r['p10']:.2f}, {r['p90']:.2f}] (median and 10-90 % of the rounds)"
        )
    profile = PlainTable("part of one update", "CPU ms", "share")
    for name, spent in figures["profile"].items():
        profile.add_row(name, f"{spent:.2f}", f"{spent / figures['profile']['one update']:.0%}")
    console.print(profile)
