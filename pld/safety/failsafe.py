"""The failsafe state machine: what is wrong, what is done about it, and who may go on.

A cause is active while it is present. A cause that latches stays in force after it has ended
("fault cleared" is not "action cleared") until the operator clears it, which is refused while it is
still active, where it is not on the allow-list, and when it has come back too often. Time is an
argument: robot time of the newest arm state [ns].
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import IntEnum

from pld.errors import ConfigError
from pld.types import ActionSource

RETRY_LIMIT = 3
QUIET_NS = 60_000_000_000
STOP, CLEAR, RECOVER = "safety_node/stop", "safety_node/clear", "franka_node/recover"


class Action(IntEnum):
    """What is done, in order of severity; the values are those of SafetyStatus."""

    NONE = 0
    HOLD = 1
    STOP = 2
    DISENGAGE = 3


@dataclass(frozen=True)
class Cause:
    """One thing that can be wrong.

    `takeover`: a person's action is let through meanwhile. `clearable`: on the operator's
    allow-list. `limited`: clears of it are limited. `homing`: a reset is let through meanwhile.
    `beside`: not seen in a command, but beside them; commands are withheld while it lasts, a
    person's too unless `takeover`.
    `remedy`: what ends it.
    """

    name: str
    action: Action
    remedy: str
    latches: bool = True
    takeover: bool = False
    clearable: bool = True
    limited: bool = True
    homing: bool = False
    beside: bool = False

    @property
    def holds_at_once(self) -> bool:
        """Whether whoever it stops is held at once, without waiting for the next choice."""
        return self.beside or self.action >= Action.STOP


# The most severe first; among equals the order decides which one a command names.
TABLE: tuple[Cause, ...] = (
    Cause("robot_fault", Action.DISENGAGE, f"call {RECOVER}"),
    Cause("arm_not_finite", Action.STOP, "find out why the driver tells them", clearable=False),
    Cause("foreign_command", Action.STOP, "end the other publisher of arm/command"),
    Cause("foreign_choice", Action.STOP, "end the other publisher of arbitrator/choice"),
    Cause("operator_stop", Action.STOP, "release the button", limited=False),
    Cause("arm_state_lost", Action.STOP, "see why franka_node is silent"),
    Cause("not_finite", Action.HOLD, "repair the policy", takeover=True),
    Cause("absurd", Action.HOLD, "repair the policy", takeover=True),
    Cause(
        "left_workspace",
        Action.HOLD,
        "end the episode: the reset brings the arm home",
        homing=True,
    ),
    Cause("force_ceiling", Action.HOLD, "take the load off the hand", latches=False),
    Cause("recording_failed", Action.HOLD, "make room", latches=False, takeover=True, beside=True),
    Cause(
        "node_silent", Action.HOLD, "see why it hangs", latches=False, takeover=True, beside=True
    ),
    Cause("choice_missing", Action.HOLD, "see why nobody answers", latches=False, takeover=True),
)
CAUSES = {cause.name: cause for cause in TABLE}
# Causes under which a command is withheld whatever the filter says of it. The filter judges the
# others anew at every command.
WITHHOLDING = frozenset(cause.name for cause in TABLE if cause.latches or cause.beside)
OPERATOR_STOP = "operator_stop"


@dataclass(frozen=True)
class Reply:
    """The answer to an operator's service call."""

    success: bool
    message: str


@dataclass(frozen=True)
class Failsafe:
    """What is active and what is latched; `cleared` counts the operator's clears.

    `history` holds (name, clears, time of the last [ns]) of limited causes.
    """

    active: frozenset[str] = frozenset()
    latched: frozenset[str] = frozenset()
    cleared: int = 0
    history: tuple[tuple[str, int, int], ...] = ()

    @property
    def in_force(self) -> tuple[str, ...]:
        """Names of the causes that act now, the most severe first."""
        names = self.active | self.latched
        return tuple(cause.name for cause in TABLE if cause.name in names)

    @property
    def action(self) -> Action:
        """The most severe action of the causes in force."""
        in_force = self.in_force
        return CAUSES[in_force[0]].action if in_force else Action.NONE

    def permits(self, source: ActionSource) -> bool:
        """Whether an action of `source` may be executed now."""
        if source is ActionSource.HUMAN:
            return all(CAUSES[name].takeover for name in self.in_force)
        return not self.in_force

    def withheld_by(self, source: ActionSource) -> str:
        """The cause that keeps an action of `source` from being executed, or nothing."""
        causes = [name for name in self.in_force if name in WITHHOLDING]
        return causes[0] if causes and not self.permits(source) else ""


def reset_withheld_by(latched: Iterable[str]) -> str:
    """The latched cause under which the arm must not even go home, or nothing."""
    names = frozenset(latched)
    return next((c.name for c in TABLE if c.name in names and not c.homing), "")


def is_stopped(latched: Iterable[str]) -> bool:
    """Whether a stop is latched, which no policy brings about: its time is not the policy's."""
    return any(CAUSES[name].action is Action.STOP for name in latched if name in CAUSES)


def is_withheld(active: Iterable[str]) -> bool:
    """Whether a cause beside the commands holds the policy: its time is not the policy's."""
    return any(CAUSES[name].beside for name in active if name in CAUSES)


def raised(state: Failsafe, name: str, t_ns: int) -> Failsafe:
    """`name` is present at `t_ns`; raises ConfigError for a cause that is not in the table."""
    cause = _cause(name)
    latched = state.latched | {name} if cause.latches else state.latched
    history = state.history
    if name not in state.active | state.latched:
        history = tuple(h for h in history if h[0] != name or t_ns - h[2] < QUIET_NS)
    return replace(state, active=state.active | {name}, latched=latched, history=history)


def ended(state: Failsafe, name: str) -> Failsafe:
    """`name` is no longer present; what it latched stays."""
    return replace(state, active=state.active - {_cause(name).name})


def noted(state: Failsafe, name: str, t_ns: int, *, present: bool) -> Failsafe:
    """`raised` or `ended`, as `present` says."""
    return raised(state, name, t_ns) if present else ended(state, name)


def stop(state: Failsafe, t_ns: int) -> tuple[Failsafe, Reply]:
    """The operator's stop: latched at once, whatever else is in force."""
    already = OPERATOR_STOP in state.latched
    after = ended(raised(state, OPERATOR_STOP, t_ns), OPERATOR_STOP)
    words = "was stopped already" if already else "stopped"
    return after, Reply(True, f"{words}; allowed now: {', '.join(allowed(after))}")


def clear(state: Failsafe, t_ns: int) -> tuple[Failsafe, Reply]:
    """The operator's clear: all that is latched, or nothing and the reason why.

    What is present and ends by going home stays latched: it lets the arm go home.
    """
    refusal = _refusal(state)
    if refusal:
        return state, Reply(False, f"{refusal}; allowed now: {', '.join(allowed(state))}")
    kept = _awaits_home(state)
    names = [name for name in state.in_force if name in state.latched - kept]
    counts = {name: (clears, last_ns) for name, clears, last_ns in state.history}
    for name in names:
        if CAUSES[name].limited:
            counts[name] = (counts.get(name, (0, 0))[0] + 1, t_ns)
    history = tuple((name, *count) for name, count in sorted(counts.items()))
    after = replace(state, latched=kept, cleared=state.cleared + 1, history=history)
    words = "".join(f"; {name} stays: {CAUSES[name].remedy}" for name in sorted(kept))
    said = f"cleared: {', '.join(names)}; clears so far: {after.cleared}{words}"
    return after, Reply(True, said)


def allowed(state: Failsafe) -> tuple[str, ...]:
    """The services that would do something now."""
    recover = (RECOVER,) if "robot_fault" in state.active else ()
    clears = () if _refusal(state) else (CLEAR,)
    return (STOP, *recover, *clears)


def _awaits_home(state: Failsafe) -> frozenset[str]:
    """What is latched, present, and ended by going home."""
    return frozenset(n for n in state.latched & state.active if CAUSES[n].homing)


def _refusal(state: Failsafe) -> str:
    """Why the latched causes cannot be cleared; empty when they can."""
    if not state.latched:
        return "nothing is latched"
    others = state.latched - _awaits_home(state)
    latched = [name for name in state.in_force if name in (others or state.latched)]
    present = [name for name in latched if name in state.active]
    if present:
        words = (f"{name} is still present: {CAUSES[name].remedy}" for name in present)
        return "; ".join(words)
    blocked = [name for name in latched if not CAUSES[name].clearable]
    if blocked:
        return f"{', '.join(blocked)} must not be cleared from here; restart the run"
    often = [name for name, clears, _ in state.history if clears >= RETRY_LIMIT and name in latched]
    if often:
        return (
            f"{', '.join(often)} came back after {RETRY_LIMIT} clears within "
            f"{QUIET_NS / 1e9:g} s of each other; find the cause, then restart the run"
        )
    return ""


def _cause(name: str) -> Cause:
    if name not in CAUSES:
        raise ConfigError.unknown("failsafe cause", name, CAUSES)
    return CAUSES[name]
