"""What a run's folder keeps of its settings, so that later commands go on with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pld.base_policy.builtin_checkpoint import load_checkpoint
from pld.errors import ConfigError
from pld.files import read_json, write_bytes_atomically, write_json_atomically
from pld.flywheel.config import FlywheelConfig
from pld.flywheel.stages import POLICY_FILE
from pld.flywheel.twin_world import LIMITS_FILE
from pld.safety.limits import SafetyLimits, load_limits

CONFIG_FILE = "config.json"
LIMITS_COPY = "limits.yaml"
KEPT = (
    "tasks",
    "seed",
    "rounds",
    "specialists",
    "rate_hz",
    "evaluation_episodes",
    "demonstrations",
    "demonstrated_in",
)
FIXED = ("tasks", "seed", "rate_hz", "demonstrated_in")


def kept_limits(folder: Path) -> SafetyLimits:
    """The safety limits that the run in `folder` was begun with, from its own copy of them.

    Policies that acted within other limits are not comparable. Of a new run, and of one from before
    runs kept a copy, they are those of the package as they are now.
    """
    own = folder / LIMITS_COPY
    if not own.exists():
        write_bytes_atomically(own, LIMITS_FILE.read_bytes())
    return load_limits(own)


def kept_settings(folder: Path) -> dict[str, Any]:
    """Those of KEPT that the run in `folder` was begun with; nothing of a new folder."""
    before = _before(folder)
    kept = {name: before[name] for name in KEPT if name in before}
    if "tasks" in kept:
        kept["tasks"] = tuple(kept["tasks"])
    return kept


def remember(folder: Path, config: FlywheelConfig) -> None:
    """Keep the settings; ConfigError where the folder holds a run of other FIXED ones."""
    before, now = _before(folder), config.as_dict()
    for name in FIXED:
        asked = list(now[name]) if isinstance(now[name], tuple) else now[name]
        if name in before and before[name] != asked:
            raise ConfigError(
                f"{str(folder)!r} holds a run with {name} {before[name]!r}, not {asked!r}; "
                "leave that option out, or choose another folder with --run"
            )
    write_json_atomically(folder / CONFIG_FILE, now)


def _before(folder: Path) -> dict[str, Any]:
    """The kept settings. Runs of older versions say their rate with the base's weights only."""
    if not (folder / CONFIG_FILE).exists():
        return {}
    before: dict[str, Any] = read_json(folder / CONFIG_FILE)
    base = folder / "base" / POLICY_FILE
    if "rate_hz" not in before and base.exists():
        before["rate_hz"] = load_checkpoint(base).rate_hz
    return before
