"""What kept the policy from moving the arm, and whose doing that was."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from pld.types import ControlMode

ROBOT_FAULT, SAFETY_LATCHED, NODE_SILENT = "robot_fault", "safety_latched", "node_silent"
NOT_THE_POLICYS = frozenset(
    {
        "communication_constraints_violation",
        "driver_failed",
        "foreign_command",
        "gripper_lost",
        "network_lost",
        "robot_time_stopped",
        "safety_silent",
    }
)
"""Faults of the arm that no action of a policy brings about."""


@dataclass(frozen=True)
class Halts:
    """The arm's `mode` and faults (`errors`) at a control step, and what held it until then.

    `paused`: it held for the operator's sake, or was stopped. `latched`: safety holds it until the
    operator clears it. `withheld`: safety kept it from the policy, since a node beside it is
    silent. `by_hand`: a person moved it.
    """

    mode: ControlMode
    errors: Collection[str] = ()
    paused: bool = False
    latched: bool = False
    withheld: bool = False
    by_hand: bool = False

    @property
    def is_fault(self) -> bool:
        """Whether the driver has let go of the arm."""
        return self.mode is ControlMode.FAULT

    @property
    def is_innocent(self) -> bool:
        """Whether the present fault is not the policy's doing."""
        elsewhere = bool(self.errors) and NOT_THE_POLICYS.issuperset(self.errors)
        return self.paused or self.withheld or self.by_hand or elsewhere

    @property
    def reason(self) -> str:
        """Why no episode may begin, or nothing."""
        if self.is_fault:
            return ROBOT_FAULT
        if self.latched:
            return SAFETY_LATCHED
        return NODE_SILENT if self.withheld else ""
