"""The launch files run the process table; checked with recording stand-ins of `launch`."""

from __future__ import annotations

import atexit
import importlib.util
import signal
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pld.errors import ConfigError, RobotError
from pld_nodes import graph
from pld_nodes.graph import Deployment

ROOT = Path(__file__).resolve().parents[2]
MODULES = {
    "launch": ("LaunchContext", "LaunchDescription"),
    "launch.actions": (
        "DeclareLaunchArgument",
        "EmitEvent",
        "ExecuteProcess",
        "OpaqueFunction",
        "RegisterEventHandler",
        "SetEnvironmentVariable",
    ),
    "launch.event_handlers": ("OnProcessExit",),
    "launch.events": ("Shutdown", "matches_action"),
    "launch.events.process": ("SignalProcess",),
    "launch.substitutions": ("LaunchConfiguration",),
}


AT_EXIT: list[Callable[[], None]] = []


def launch_exits() -> None:
    """What happens when the process of `ros2 launch` ends."""
    while AT_EXIT:
        AT_EXIT.pop()()


class Recorded:
    """Remembers how it was made."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args, self.kwargs = args, kwargs

    def perform(self, context: Any) -> str:
        return context[self.args[0]]


@pytest.fixture(autouse=True)
def launch_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, members in MODULES.items():
        module = types.ModuleType(name)
        for member in members:
            setattr(module, member, type(member, (Recorded,), {}))
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "pld_nodes.launching", raising=False)
    monkeypatch.setattr(atexit, "register", AT_EXIT.append)
    yield
    launch_exits()
    sys.modules.pop("pld_nodes.launching", None)


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / "launch" / f"{name}.launch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description()


def start(description: Any, **changed: str) -> list[Any]:
    entities = description.args[0]
    declared = {e.args[0]: e.kwargs["default_value"] for e in entities[:-1]}
    opaque = entities[-1]
    context = {**declared, **changed}
    return opaque.kwargs["function"](context, *opaque.kwargs["args"])


def kind(entity: Any) -> str:
    return type(entity).__name__


def test_sim_launch_starts_the_rows_of_the_table_in_order(tmp_path: Path) -> None:
    actions = start(load("sim"), output_dir=str(tmp_path), run="r", robot_ip="127.0.0.98")
    started = [a.kwargs["name"] for a in actions if kind(a) == "ExecuteProcess"]
    assert started == [p.name for p in graph.processes(Deployment.SIM)]


def test_a_run_is_taken_up_with_its_own_parameters(tmp_path: Path) -> None:
    place = {"output_dir": str(tmp_path), "robot_ip": "127.0.0.98"}
    start(load("sim"), run="r", task="peg_insertion", seed="7", **place)
    launch_exits()
    actions = start(load("sim"), resume="r", **place)
    commands = {a.kwargs["name"]: a.kwargs["cmd"] for a in actions if kind(a) == "ExecuteProcess"}
    assert "task:='peg_insertion'" in commands["arbitrator_node"]
    with pytest.raises(ConfigError, match="seed: a resumed run keeps its own"):
        start(load("sim"), resume="r", seed="8", **place)


def test_what_is_said_to_a_resumed_run_counts_even_where_it_is_the_default(tmp_path: Path) -> None:
    said = {"output_dir": str(tmp_path), "run": "r", "robot_ip": "127.0.0.98", "episodes": "3"}
    start(load("sim"), **said)
    launch_exits()
    again = {"output_dir": str(tmp_path), "robot_ip": "127.0.0.1", "episodes": "10"}
    actions = start(load("sim"), resume="r", **again)
    commands = {a.kwargs["name"]: a.kwargs["cmd"] for a in actions if kind(a) == "ExecuteProcess"}
    assert "robot_ip:='127.0.0.1'" in commands["franka_node"]
    assert "episodes:=10" in commands["arbitrator_node"]


def test_every_argument_is_declared_with_its_description() -> None:
    for name in ("sim", "robot"):
        entities = load(name).args[0]
        assert {"robot_ip", "task", "mode", "namespace"} <= {e.args[0] for e in entities[:-1]}
        assert all(e.kwargs["description"] for e in entities[:-1])


def test_the_end_of_a_process_ends_the_launch_and_notes_the_reason(tmp_path: Path) -> None:
    actions = start(load("sim"), output_dir=str(tmp_path), run="r", robot_ip="127.0.0.98")
    handlers = [a.args[0] for a in actions if kind(a) == "RegisterEventHandler"]
    exits = {
        h.kwargs["target_action"].kwargs["name"]: h for h in handlers if h.kwargs.get("on_exit")
    }
    assert set(exits) == {p.name for p in graph.processes(Deployment.SIM)}
    up, down = (types.SimpleNamespace(is_shutdown=over) for over in (False, True))
    told_to = types.SimpleNamespace(returncode=0)
    assert exits["arbitrator_node"].kwargs["on_exit"](told_to, down) == []
    assert not (tmp_path / "r" / "termination.json").exists()
    killed = types.SimpleNamespace(returncode=-9)
    emitted = exits["safety_node"].kwargs["on_exit"](killed, up)
    assert exits["vla_node"].kwargs["on_exit"](killed, up) == [], "the first to end is the reason"
    events = [entity.kwargs["event"] for entity in emitted]
    assert [kind(event) for event in events] == ["SignalProcess", "Shutdown"]
    assert events[0].kwargs["signal_number"] is signal.SIGUSR1
    (driver,) = events[0].kwargs["process_matcher"].args
    assert driver.kwargs["name"] == "franka_node"
    assert "node_lost:safety_node" in (tmp_path / "r" / "termination.json").read_text()


def test_a_run_that_was_over_was_ended_by_nobody(tmp_path: Path) -> None:
    actions = start(load("sim"), output_dir=str(tmp_path), run="r", robot_ip="127.0.0.98")
    handlers = [a.args[0].kwargs for a in actions if kind(a) == "RegisterEventHandler"]
    exits = {h["target_action"].kwargs["name"]: h["on_exit"] for h in handlers if "on_exit" in h}
    up, done = types.SimpleNamespace(is_shutdown=False), types.SimpleNamespace(returncode=0)
    assert exits["arbitrator_node"](done, up)
    assert exits["vla_node"](done, up) == []
    assert not (tmp_path / "r" / "termination.json").exists()


def test_a_second_launch_waits_until_the_first_has_left(tmp_path: Path) -> None:
    place = {"output_dir": str(tmp_path), "robot_ip": "127.0.0.98"}
    start(load("sim"), run="r", **place)
    with pytest.raises(RobotError, match="another run is up in namespace 'pld'"):
        start(load("sim"), run="q", **place)
    launch_exits()
    start(load("sim"), run="q", **place)


def test_a_bad_argument_fails_before_any_process_starts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown task 'cube'"):
        start(load("sim"), output_dir=str(tmp_path), task="cube")


def test_replay_launch_runs_the_guarded_player_and_ends_with_it() -> None:
    entities = load("replay").args[0]
    declared = {e.args[0]: e.kwargs for e in entities if kind(e) == "DeclareLaunchArgument"}
    assert set(declared) == {"bag", "rate", "start"}
    assert declared["bag"]["default_value"] is None
    players = [e for e in entities if kind(e) == "ExecuteProcess"]
    command = [getattr(part, "args", [part])[0] for part in players[0].kwargs["cmd"]]
    assert command[1:] == ["-m", "pld_nodes.replay", "bag", "--rate", "rate", "--start", "start"]
    (handler,) = [e.args[0] for e in entities if kind(e) == "RegisterEventHandler"]
    assert kind(handler.kwargs["on_exit"](None, None)[0]) == "EmitEvent"
