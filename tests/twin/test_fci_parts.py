"""The pure parts of the simulated FCI: wire format, reflexes, fault scripts."""

from __future__ import annotations

import numpy as np
import pytest
from franky_sim.franka_robot_state import FrankaRobotState

from pld.errors import ConfigError
from pld.twin.faults import FAULTS, FaultScript
from pld.twin.reflexes import (
    CollisionBehaviour,
    ExternalEffort,
    collisions,
    limit_violations,
)
from pld.twin.wire import ERROR_NAMES, StateBuffer

SECOND_NS = 1_000_000_000


def test_the_wire_format_is_that_of_the_reference_packing() -> None:
    rng = np.random.default_rng(0)
    buffer, values = StateBuffer(), {}
    for name, view in buffer.fields.items():
        values[name] = tuple(rng.normal(size=view.size).astype(np.float32).tolist())
        view[:] = values[name]
    scalars = {name: values.pop(name)[0] for name in ("m_ee", "m_load")}
    buffer.set_modes(5, 2, 4)
    buffer.set_errors(frozenset({"cartesian_reflex"}), frozenset({"joint_reflex"}))
    buffer.set_success_rate(0.5)
    flags = [tuple(i == index for i in range(41)) for index in (7, 6)]
    reference = FrankaRobotState(
        **values,
        **scalars,
        errors=flags[0],
        reflex_reason=flags[1],
        motion_generator_mode=5,
        controller_mode=2,
        robot_mode=4,
        control_command_success_rate=0.5,
    )
    assert buffer.to_bytes() == reference.pack_state()
    assert len(ERROR_NAMES) == len(set(ERROR_NAMES)) == 41


def steady(wrench: float, steps: int) -> ExternalEffort:
    effort = ExternalEffort()
    for _ in range(steps):
        effort.update(np.repeat([wrench / 2, wrench], [7, 6]))
    return effort


def test_a_lasting_push_is_felt_in_full_and_a_blow_of_one_millisecond_is_damped() -> None:
    np.testing.assert_allclose(steady(30.0, 300).wrench, 30.0, rtol=1e-3)
    assert steady(30.0, 1).wrench.max() < 3.0
    effort = steady(30.0, 300)
    for _ in range(600):
        effort.update(None)
    assert effort.at_rest
    assert np.abs(effort.wrench).max() < 1e-5


@pytest.mark.parametrize("axis", range(6))
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_each_axis_of_the_wrench_sets_off_the_reflex_in_both_directions(
    axis: int, sign: float
) -> None:
    behaviour = CollisionBehaviour.uniform(1000.0, 20.0)
    effort = ExternalEffort()
    effort.at_rest = False
    effort.wrench[axis] = sign * 19.9
    assert collisions(effort, behaviour) == frozenset()
    effort.wrench[axis] = sign * 20.1
    assert collisions(effort, behaviour) == {"cartesian_reflex"}


@pytest.mark.parametrize("joint", range(7))
def test_each_joint_torque_and_limit_is_watched(joint: int) -> None:
    effort = ExternalEffort()
    effort.at_rest = False
    effort.tau_nm[joint] = -15.1
    assert collisions(effort, CollisionBehaviour.uniform(15.0, 99.0)) == {"joint_reflex"}
    low, high = np.full(7, -1.0), np.full(7, 1.0)
    q, dq = np.zeros(7), np.zeros(7)
    assert limit_violations(q, dq, low, high) == frozenset()
    dq[joint] = -6.0
    assert limit_violations(q, dq, low, high) == {"joint_velocity_violation"}
    q[joint], dq[joint] = 1.01, 0.0
    assert limit_violations(q, dq, low, high) == {"joint_position_limits_violation"}


def test_counted_losses_end_and_random_ones_repeat_for_the_same_seed() -> None:
    script = FaultScript()
    script.inject("packet_loss", 0, {"count": 3})
    assert [script.loses_reply() for _ in range(5)] == [True] * 3 + [False] * 2

    def pattern(seed: int) -> list[bool]:
        script.inject("packet_loss", 0, {"probability": 0.3, "seed": seed})
        return [script.loses_reply() for _ in range(200)]

    assert pattern(1) == pattern(1) != pattern(2)
    assert 30 < sum(pattern(1)) < 90
    assert script.injected == {"packet_loss": 5}


def test_silence_is_measured_in_robot_time_and_clear_ends_everything() -> None:
    script = FaultScript()
    script.inject("silence", 5 * SECOND_NS, {"duration_s": 1.5})
    assert script.is_silent(6 * SECOND_NS)
    assert not script.is_silent(int(6.5 * SECOND_NS))
    script.inject("freeze", 0, {})
    script.inject("latency", 0, {})
    script.clear()
    assert (script.frozen, script.late, script.is_silent(0)) == (False, False, False)


def test_a_camera_repeats_itself_until_everything_is_cleared() -> None:
    script = FaultScript()
    script.inject("repeated_picture", 0, {"camera": "wrist"})
    assert script.repeating == ("wrist",)
    with pytest.raises(ConfigError, match="unknown camera 'third'; valid: third_person, wrist"):
        script.inject("repeated_picture", 0, {"camera": "third"})
    script.clear()
    assert script.repeating == ()


@pytest.mark.parametrize("bad", ["1", None, True, -1, float("nan"), float("inf")])
def test_a_fault_parameter_that_is_no_sensible_number_is_refused(bad: object) -> None:
    with pytest.raises(ConfigError, match="duration_s"):
        FaultScript().inject("silence", 0, {"duration_s": bad})


def test_an_unknown_fault_lists_the_valid_ones() -> None:
    with pytest.raises(ConfigError, match=", ".join(FAULTS)):
        FaultScript().inject("fire", 0, {})
