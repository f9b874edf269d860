"""The table of faults counts what happened, and says no where the bar is missed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pld_interfaces.msg import ArmCommand

from pld.errors import ConfigError
from pld.robots.fake import FakeArm
from pld.types import ArmState, ControlMode
from pld_nodes.bench import safety_faults, safety_table
from pld_nodes.bench.false_stops import DRIVERS_OWN, driver_holds, silences
from pld_nodes.bench.safety_bench import normal_running
from pld_nodes.bench.safety_faults import FAULTS, Fault
from pld_nodes.bench.safety_session import Trial
from pld_nodes.bench.truth_path import still_ns, travel_mm

NAN = float("nan")


def fault(**options: object) -> Fault:
    return Fault("a", lambda _: None, **options)


def trial(to_hold_ms: float, *, detected: bool = True, false_stops: int = 0) -> Trial:
    return Trial("a", detected, to_hold_ms, 8.0, 1.0, false_stops)


def test_every_fault_has_a_name_of_its_own() -> None:
    names = [f.name for f in FAULTS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("trials", "met"),
    [
        ([trial(20.0), trial(100.0)], True),
        ([trial(20.0), trial(100.1)], False),
        ([trial(20.0), trial(NAN)], False),
        ([trial(20.0, detected=False)], False),
        ([trial(20.0, false_stops=1)], False),
        ([], False),
    ],
)
def test_the_bar_is_every_trial_noticed_and_held_in_time(trials: list[Trial], met: bool) -> None:
    (row,) = safety_table.rows([fault()], trials, 20.0)
    assert row.met is met
    assert row.trials == len(trials)


def test_only_nodes_of_the_benchs_own_run_are_killed() -> None:
    killed = {f.kills for f in FAULTS if f.kills}
    assert {"recorder_node", "twin_node", "safety_node"} < killed
    assert not killed & {"residual_node", "learner_node", "teleop_node"}


def test_a_word_chooses_the_fault_of_that_name_or_all_that_contain_it() -> None:
    stop = "service safety_node/stop"
    assert [f.name for f in safety_faults.chosen(stop)] == [stop]
    found = {f.name for f in safety_faults.chosen("on the way home, SIGSTOP")}
    assert {f"{stop} on the way home", "SIGSTOP vla_node"} < found
    assert all("SIGSTOP" in name or "home" in name for name in found)
    assert len(safety_faults.chosen("")) == len(safety_faults.FAULTS)
    with pytest.raises(ConfigError, match="unknown fault 'nonsense'; valid: service safety_node"):
        safety_faults.chosen("SIGSTOP,nonsense")


def test_at_a_slow_rate_the_bar_is_two_control_periods() -> None:
    assert safety_table.rows([fault()], [trial(200.0)], 10.0)[0].met
    assert not safety_table.rows([fault()], [trial(200.1)], 10.0)[0].met


def test_a_command_executed_after_a_final_hold_misses_the_bar() -> None:
    calm, late = trial(20.0), Trial("a", True, 20.0, 8.0, 1.0, 0, moved_on=1)
    (row,) = safety_table.rows([fault(is_final=True)], [calm], 20.0)
    assert row.met
    assert row.moved_on == 0
    (row,) = safety_table.rows([fault(is_final=True)], [calm, late], 20.0)
    assert not row.met
    assert row.moved_on == 1
    assert safety_table.rows([fault()], [calm], 20.0)[0].moved_on is None


def test_false_stops_say_their_causes() -> None:
    stopped = Trial("a", True, 20.0, 8.0, 1.0, 2, stop_causes=("choice_missing", "choice_missing"))
    (row,) = safety_table.rows([fault()], [trial(20.0), stopped], 20.0)
    assert row.cells()[-2] == "2 (choice_missing 2)"
    assert not row.met


def test_motion_that_should_go_on_must_not_hold() -> None:
    assert safety_table.rows([fault(moves=True)], [trial(NAN)], 20.0)[0].met
    assert not safety_table.rows([fault(moves=True)], [trial(30.0)], 20.0)[0].met
    assert not safety_table.rows([fault(moves=True)], [], 20.0)[0].met
    named = fault(moves=True, causes=("workspace",))
    assert safety_table.rows([named], [trial(NAN)], 20.0)[0].cells()[-1] == "yes"
    assert not safety_table.rows([named], [trial(NAN, detected=False)], 20.0)[0].met


def test_a_moment_without_a_fault_is_not_called_a_success() -> None:
    (row,) = safety_table.rows([fault(moves=True)], [trial(NAN, detected=False)], 20.0)
    assert row.cells()[-1] == "too short to say"
    long = Trial("a", False, NAN, 8.0, safety_table.MIN_QUIET_S, 0)
    (row,) = safety_table.rows([fault(moves=True)], [long], 20.0)
    assert row.cells()[-1] == "yes"


def test_normal_running_that_ended_early_misses_the_bar() -> None:
    normal = normal_running(1800.0)
    for quiet_s, met in ((700.0, False), (1795.0, True)):
        calm = Trial(normal.name, False, NAN, NAN, quiet_s, 0)
        (row,) = safety_table.rows([normal], [calm], 20.0)
        assert row.met is met


def test_holds_that_the_driver_began_for_itself_are_told_from_those_that_safety_sent() -> None:
    arm = FakeArm()
    arm.connect()
    at_home = arm.reset()

    def state(step: int, applied: int, held_ns: int, mode: ControlMode) -> ArmState:
        told = {"applied_step": applied, "held_ns": held_ns, "control_mode": mode}
        return replace(at_home, step=step, **told)

    tracking, holding = ControlMode.TRACKING, ControlMode.HOLDING
    states = [
        state(1, 0, 0, tracking),
        state(2, 1, 0, tracking),
        state(3, 2, 300, holding),
        state(4, 2, 300, holding),
        state(5, 4, 300, tracking),
        state(6, 4, 600, holding),
        state(7, 4, 600, ControlMode.RESETTING),
    ]
    commands = [ArmCommand(step=step, hold=step == 2) for step in range(1, 5)]
    assert driver_holds(states, commands) == (DRIVERS_OWN,)
    assert driver_holds(states[:4], commands) == ()


def test_the_spread_is_of_the_trials_that_held() -> None:
    (row,) = safety_table.rows([fault()], [trial(v) for v in (10.0, 30.0, 50.0, NAN)], 20.0)
    assert (row.held, row.p50_ms, row.max_ms) == (3, 30.0, 50.0)


def test_the_page_is_rewritten_between_its_marks_only(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{safety_table.BEGIN}\nold\n{safety_table.END}\nafter\n")
    safety_table.save(safety_table.rows([fault()], [trial(20.0)], 20.0), tmp_path / "f.json")
    document = json.loads((tmp_path / "f.json").read_text())
    for _ in range(2):
        safety_table.write_into(page, [document, document])
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "\nold\n" not in text
    assert text.count("| a | 1 | 1 | 1 | 20 | 20 | 20 |  | 8.0 | 0 | yes |") == 2
    with pytest.raises(ConfigError, match="expected one"):
        safety_table.write_into(tmp_path / "f.json", [document])


def test_standing_still_and_travel_are_read_from_the_path() -> None:
    times = np.arange(6) * 10_000_000
    places = np.zeros((6, 3))
    places[:, 0] = [0.0, 0.010, 0.006, 0.0058, 0.00575, 0.0057]
    assert travel_mm(places) == pytest.approx(10.0)
    assert still_ns(times, places) == 30_000_000
    for cut in (0, 1, 4):
        assert still_ns(times[:cut], places[:cut]) is None, "it still moves where the path ends"
    assert still_ns(times, np.zeros((6, 3))) is None, "it never moved"


def test_who_fell_silent_is_read_from_the_safety_nodes_log(tmp_path) -> None:
    assert silences(tmp_path) == []
    (tmp_path / "logs").mkdir()
    lines = (
        "[WARN] [1.0] [pld.safety_node]: silent: recorder_node",
        "[WARN] [2.0] [pld.safety_node]: operator: stopped",
        "[WARN] [3.0] [pld.safety_node]: silent: twin_node, wrist_camera_node",
    )
    (tmp_path / "logs" / "safety_node.log").write_text("\n".join(lines))
    assert silences(tmp_path) == ["silent: recorder_node", "silent: twin_node, wrist_camera_node"]
