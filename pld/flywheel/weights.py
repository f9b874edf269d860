"""Where a run's weights lie, and weights from elsewhere that are evaluated in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pld.base_policy.builtin import BuiltinPolicy
from pld.errors import ConfigError
from pld.files import sha256_of, write_bytes_atomically
from pld.flywheel.names import (
    RESIDUAL_CONTROLS,
    WEIGHTS,
    control_policies,
    newest_before,
    specialist_name,
    specialist_number,
)
from pld.flywheel.stages import ACTOR_FILE, POLICY_FILE

if TYPE_CHECKING:
    from pld.flywheel.turning import Flywheel


class SpecialistFiles(NamedTuple):
    """Weights that make a specialist: the frozen policy under it, and its residual."""

    base: Path
    residual: Path


class RunWeights:
    """The files of the policies in a run's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def policy_file(self, name: str) -> Path:
        """Weights of the policy called `name`."""
        return self.folder / name / POLICY_FILE

    def specialist_files(self, task: str, number: int = 1) -> SpecialistFiles:
        """Weights of the base and of the residual of specialist `number`."""
        residual = self.folder / specialist_name(number) / task / ACTOR_FILE
        return SpecialistFiles(self.policy_file(newest_before(number)), residual)

    def files_of(self, name: str, task: str) -> SpecialistFiles | None:
        """Files of a round's or control's specialist; None for every other policy."""
        if number := specialist_number(name):
            return self.specialist_files(task, number)
        if control_policies().get(name) in RESIDUAL_CONTROLS:
            residual = self.folder / f"{name}-specialist" / task / ACTOR_FILE
            return SpecialistFiles(self.policy_file("base"), residual)
        return None


def take_in(wheel: Flywheel, weights: Path) -> str:
    """Copy weights from elsewhere into the run; the name under which they are evaluated.

    Raises ConfigError for weights of another rate, and for those that do not know a task.
    """
    policy, *_ = [BuiltinPolicy.load(weights, task) for task in wheel.config.tasks]
    if policy.rate_hz != wheel.config.rate_hz:
        raise ConfigError(
            f"{str(weights)!r} acts at {policy.rate_hz:g} Hz and the run in "
            f"{str(wheel.folder)!r} at {wheel.config.rate_hz:g} Hz; give a run of that rate"
        )
    digest = sha256_of(weights)
    name = f"{WEIGHTS}{digest[:8]}"

    def copy(folder: Path) -> dict[str, Any]:
        write_bytes_atomically(folder / POLICY_FILE, weights.read_bytes())
        return {"policy_id": policy.policy_id}

    wheel.stage(name, {"sha256": digest}, [], copy)
    return name
