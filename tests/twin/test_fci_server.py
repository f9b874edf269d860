"""The simulated FCI as its client and its operator meet it, in robot time."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import franky
import numpy as np
import pytest

from pld.errors import ConfigError
from pld.twin.control import ControlClient
from pld.twin.process import RunningTwin, running_twin, serve_command
from pld.twin.wire import ERROR_NAMES
from tests.processes import alive, gone
from tests.twin.fci_rig import connected_arm, drive, towards

ADDRESS = "127.0.0.34"
MOVING_CLIENT = """
import sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from pld.robots.franka import FrankaArm
from tests.twin.fci_rig import drive, twin_config
arm = FrankaArm(twin_config({address!r}))
arm.connect()
start = arm.reset().O_T_EE.p_m
print("moving", flush=True)
drive(arm, 10_000, lambda s, i: s.reference.p_m + [0.0, 0.008 if i < 30 else 0.0, 0.0])
"""


@pytest.fixture(scope="module")
def twin() -> Iterator[RunningTwin]:
    with running_twin(ADDRESS) as twin:
        yield twin


def wait_robot_time(twin: RunningTwin, seconds: float) -> dict[str, object]:
    begin = twin.control.call("truth")["t_ns"]
    while True:
        truth = twin.control.call("truth")
        if truth["t_ns"] - begin >= seconds * 1e9:
            return truth
        time.sleep(0.01)


def test_commands_that_are_not_offered_are_refused_and_the_server_lives(twin: RunningTwin) -> None:
    robot = franky.Robot(twin.address, realtime_config=franky.RealtimeConfig.Ignore)
    with pytest.raises(franky.CommandException, match="not possible"):
        robot.set_guiding_mode([True] * 6, True)
    first = robot.state.time.to_msec()
    assert robot.state.time.to_msec() > first
    robot.set_joint_impedance([3000.0] * 7)
    state = robot.state
    np.testing.assert_allclose(np.ravel(state.O_T_EE.translation), [0.48, 0.0, 0.25], atol=2e-3)
    assert state.robot_mode == franky.RobotMode.Idle


def test_the_state_carries_the_simulations_own_time(twin: RunningTwin) -> None:
    robot = franky.Robot(twin.address, realtime_config=franky.RealtimeConfig.Ignore)
    before = twin.control.call("truth")["t_ns"]
    state_ns = robot.state.time.to_msec() * 1_000_000
    after = twin.control.call("truth")["t_ns"]
    assert before <= state_ns + 1_000_000
    assert state_ns <= after


def test_the_external_wrench_is_the_weight_pressed_on_the_table(twin: RunningTwin) -> None:
    with connected_arm(twin, translational_stiffness_n_m=800.0) as arm:
        arm.reset()
        drive(arm, 24, towards(np.array([0.40, -0.25, 0.02])))
        state = drive(arm, 48, towards(np.array([0.40, -0.25, -0.012]), 0.002))[-1]
        force = state.O_F_ext_hat_K
        expected_n = 800.0 * (state.O_T_EE.p_m[2] - state.reference.p_m[2])
        assert force[2] == pytest.approx(-expected_n, rel=0.25)
        assert expected_n > 8.0
        truth = twin.control.call("truth")
        assert truth["contact_n"] == pytest.approx(np.linalg.norm(force[:3]), rel=0.3)
        arm.reset()
        assert np.abs(arm.wait_step().O_F_ext_hat_K[:3]).max() < 1.0


def test_lost_packets_lower_the_success_rate_and_twenty_in_a_row_stop_the_arm(
    twin: RunningTwin,
) -> None:
    with connected_arm(twin) as arm:
        arm.reset()
        drive(arm, 3, lambda s, _: s.reference.p_m)
        missed = twin.control.call("stats")["replies_missed"]
        twin.control.call("inject", fault="packet_loss", count=19)
        drive(arm, 2, lambda s, _: s.reference.p_m)
        stats = twin.control.call("stats")
        assert stats["replies_missed"] - missed == 19
        assert stats["errors"] == []
        twin.control.call("inject", fault="packet_loss", probability=0.25, seed=1)
        drive(arm, 4, lambda s, _: s.reference.p_m)
        assert 0.6 < twin.control.call("stats")["success_rate"] < 0.9
        twin.control.call("inject", fault="packet_loss", count=20)
        while not arm.fault:
            arm.wait_step()
        assert arm.fault == ("communication_constraints_violation",)
        twin.control.call("clear")
        arm.recover()


@pytest.mark.parametrize("index", [0, 7, 23, 25, 31, 32, 40])
def test_an_error_reaches_the_client_under_its_own_name(twin: RunningTwin, index: int) -> None:
    robot = franky.Robot(twin.address, realtime_config=franky.RealtimeConfig.Ignore)
    twin.control.call("inject", fault="reflex", name=ERROR_NAMES[index])
    while robot.state.robot_mode != franky.RobotMode.Reflex:
        pass
    errors = robot.state.current_errors
    assert [n for n in dir(type(errors)) if getattr(errors, n) is True] == [ERROR_NAMES[index]]
    robot.recover_from_errors()
    while robot.has_errors:
        pass


def test_replies_that_come_late_are_dropped_and_stop_the_arm(twin: RunningTwin) -> None:
    with connected_arm(twin) as arm:
        arm.reset()
        drive(arm, 3, lambda s, _: s.reference.p_m)
        before = arm.wait_step()
        twin.control.call("inject", fault="latency")
        while not arm.fault:
            state = arm.wait_step()
        assert arm.fault == ("communication_constraints_violation",)
        assert np.linalg.norm(state.O_T_EE.p_m - before.O_T_EE.p_m) < 0.005
        twin.control.call("clear")
        arm.recover()


def test_a_killed_client_frees_the_robot_and_the_arm_holds(twin: RunningTwin) -> None:
    root = str(Path(__file__).resolve().parents[2])
    script = MOVING_CLIENT.format(root=root, address=twin.address)
    client = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert client.stdout is not None
    assert client.stdout.readline() == "moving\n"
    wait_robot_time(twin, 0.5)
    client.send_signal(signal.SIGKILL)
    client.wait()
    first = wait_robot_time(twin, 0.3)
    later = wait_robot_time(twin, 0.3)
    np.testing.assert_allclose(first["qpos"][:7], later["qpos"][:7], atol=2e-3)
    assert abs(first["qpos"][0]) > 0.02
    with connected_arm(twin) as arm:
        assert arm.fault == ()
        arm.reset()


def test_a_reset_lays_the_same_scene_for_the_same_seed(twin: RunningTwin) -> None:
    def cube(seed: int) -> list[float]:
        twin.control.call("reset", task="cube_pickup", seed=seed)
        return list(twin.control.call("truth")["O_T_object"])

    assert cube(7) == pytest.approx(cube(7), abs=1e-4)
    assert np.linalg.norm(np.subtract(cube(7), cube(8))) > 1e-3
    resets = twin.control.call("stats")["resets"]
    cube(9)
    assert twin.control.call("stats")["resets"] == resets + 1


@pytest.mark.parametrize(
    ("request_", "valid"),
    [
        ({"operation": "dance"}, "reset, truth, stats, inject, clear, shutdown"),
        ({"operation": "inject", "fault": "gremlins"}, "packet_loss, silence, latency"),
        ({"operation": "inject", "fault": "silence", "hours": 1}, "duration_s"),
        ({"operation": "inject", "fault": "packet_loss", "probability": 7}, "from 0 to 1"),
        ({"operation": "inject", "fault": "reflex", "name": "hiccup"}, "cartesian_reflex"),
        ({"operation": "reset", "task": "peg_insertion", "seed": 1}, "cube_pickup"),
        ({"operation": "reset", "task": "cube_pickup", "seed": -1}, "whole number"),
        ({"operation": "reset", "task": "cube_pickup", "seed": 1, "region": "moon"}, "corner"),
        ({"operation": "truth", "nonsense": 1}, "nonsense"),
    ],
)
def test_a_bad_request_is_answered_with_the_valid_ones(
    twin: RunningTwin, request_: dict[str, object], valid: str
) -> None:
    with pytest.raises(ConfigError, match=valid):
        twin.control.call(str(request_.pop("operation")), **request_)


def outcome(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr


def test_a_port_in_use_is_one_clear_error(twin: RunningTwin, tmp_path: Path) -> None:
    code, said = outcome(*serve_command(twin.address, tmp_path / "other"))
    assert code == 2
    assert said.count("\n") == 1
    assert f"port 1337 or 1338 at {twin.address} is in use" in said
    assert "--address" in said
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--task", "juggling"), "unknown task 'juggling'; valid: cube_pickup, peg_insertion"),
        (("--address", "192.168.1.1"), "a loopback address"),
        (("--address", "robot.local"), "a loopback address"),
    ],
)
def test_a_twin_that_cannot_start_says_why(
    tmp_path: Path, options: tuple[str, ...], expected: str
) -> None:
    code, said = outcome(*serve_command("127.0.0.37", tmp_path, *options))
    assert (code, said.count("\n")) == (2, 1)
    assert expected in said


def test_the_twin_dies_with_its_parent_and_stops_cleanly_when_told(tmp_path: Path) -> None:
    line = serve_command("127.0.0.35", tmp_path)
    parent = subprocess.Popen(
        [
            sys.executable, "-c",
            f"import subprocess, time; p = subprocess.Popen({line!r}); print(p.pid, flush=True); "
            "time.sleep(100)",
        ],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert parent.stdout is not None
    twin_pid = int(parent.stdout.readline())
    assert "ready" in parent.stdout.readline()
    assert (tmp_path / "twin.sock").exists()
    assert alive(twin_pid)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert gone(twin_pid, 20.0)
    assert not (tmp_path / "twin.sock").exists()


def test_shutdown_over_the_control_line_ends_with_code_zero() -> None:
    with running_twin("127.0.0.36", "--task", "peg_insertion") as twin:
        truth = wait_robot_time(twin, 0.2)
        peg_m = np.array(truth["O_T_object"][:3])
        np.testing.assert_allclose(peg_m, [0.48, 0.0, 0.22], atol=0.004)
        ControlClient(twin.folder / "twin.sock").call("shutdown")
        assert twin.process.wait(timeout=20) == 0
        assert not (twin.folder / "twin.sock").exists()
