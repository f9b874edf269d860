"""Under which names a bag is played for viewing: none that a node of the graph could read.

Every topic moves below `/replay`. Topics of our own types, commands and actions above all, end in
`/recorded` besides: a driver reads `<namespace>/arm/command`, and no namespace makes that equal to
a name with another ending.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pld.errors import ConfigError
from pld.recording.bag import RawMessage

PREFIX = "/replay"
ENDING = "/recorded"
OWN_TYPES = "pld_interfaces/"
RATES = (0.01, 100.0)


def viewing_name(topic: str, type_name: str) -> str:
    """The name under which the recorded absolute `topic` is shown."""
    ending = ENDING if type_name.startswith(OWN_TYPES) else ""
    return f"{PREFIX}/{topic.strip('/')}{ending}"


@dataclass(frozen=True)
class Due:
    """A message and when to show it [s] after the start."""

    after_s: float
    message: RawMessage


def check_pace(rate: float, start_s: float) -> None:
    """Refuse a rate or a start that cannot be played; raises ConfigError."""
    if not RATES[0] <= rate <= RATES[1]:
        raise ConfigError(f"rate: {rate} is not from {RATES[0]:g} to {RATES[1]:g}")
    if not 0.0 <= start_s < float("inf"):
        raise ConfigError(f"start: {start_s} is not 0 or more seconds")


def schedule(messages: Iterable[RawMessage], rate: float, start_s: float = 0.0) -> Iterator[Due]:
    """Messages in the pace of their recording times `rate`; those before `start_s` are overdue.

    Of those only latched topics are worth showing; the caller drops the others.
    """
    first_ns: int | None = None
    for message in messages:
        first_ns = message.log_time_ns if first_ns is None else first_ns
        since_s = (message.log_time_ns - first_ns) / 1e9
        yield Due((since_s - start_s) / rate, message)
