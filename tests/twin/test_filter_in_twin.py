"""The filter on the lockstep twin: free motion untouched, the box kept, kinematics confirmed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pld.base_policy.scripted import ExpertPolicy
from pld.contract import ActionSpec
from pld.flywheel.twin_world import LIMITS_FILE
from pld.robots.twin import LockstepTwin, TwinConfig
from pld.safety.arm_model import jacobian
from pld.safety.filter import filter_choice
from pld.safety.limits import load_limits
from pld.twin.tasks import task_named
from pld.types import ActionSource, Choice, Observation
from pld_nodes.bench.box_bench import lockstep_arm, measure
from pld_nodes.bench.box_fci import fci_arm

LIMITS = load_limits(LIMITS_FILE)
ONLY_THE_OLD_LIMITS = replace(
    LIMITS,
    max_step_m=None,
    max_step_rad=None,
    max_acceleration_m_s2=None,
    lower_q_rad=None,
    upper_q_rad=None,
    joint_margin_rad=None,
    singularity_slow=None,
    singularity_stop=None,
)
TRACKING_MARGIN_MM = 30.0


@pytest.mark.parametrize("rate_hz", [10.0, 20.0])
@pytest.mark.parametrize("task", ["cube_pickup", "peg_insertion"])
def test_the_newer_limits_change_no_command_of_the_experts_episodes(
    task: str, rate_hz: float
) -> None:
    spec = ActionSpec(rate_hz=rate_hz)
    twin = LockstepTwin(task_named(task), TwinConfig(spec=spec, image_px=None))
    for seed in range(6):
        arm = twin.reset(seed)
        policy = ExpertPolicy(task, twin.truth, spec)
        policy.reset(seed)
        while not twin.success:
            action = policy.infer(Observation(arm, {}, ""))[0]
            choice = Choice(arm.step, ActionSource.BASE, action)
            command = filter_choice(choice, arm, LIMITS, spec)
            without = filter_choice(choice, arm, ONLY_THE_OLD_LIMITS, spec)
            np.testing.assert_array_equal(command.executed_action, without.executed_action)
            np.testing.assert_array_equal(command.target.p_m, without.target.p_m)
            np.testing.assert_array_equal(command.target.q_xyzw, without.target.q_xyzw)
            assert (command.hold, command.reasons) == (without.hold, without.reasons)
            twin.apply(command)
            arm = twin.wait_step()


@pytest.mark.parametrize("rate_hz", [10.0, 20.0])
def test_random_commands_keep_the_arm_in_the_box_and_off_its_joint_limits(rate_hz: float) -> None:
    with lockstep_arm(rate_hz, 0) as robot:
        found = measure(robot, range(1200), rate_hz, 0, LIMITS_FILE)
    assert len(found.outside_mm) == 1200
    assert max(found.outside_mm) <= TRACKING_MARGIN_MM
    assert found.nearest_joint_limit_rad > 0.0
    assert found.refused > 100
    assert found.changed > 500


def test_the_driver_keeps_a_simulated_franka_in_the_box_through_its_reflexes() -> None:
    with fci_arm("127.0.0.37", 20.0, 0) as robot:
        found = measure(robot, range(150), 20.0, 0, LIMITS_FILE)
    assert len(found.outside_mm) == 150
    assert max(found.outside_mm) <= TRACKING_MARGIN_MM
    assert found.refused > 0
    assert found.changed > 50


def test_the_jacobian_is_the_simulators(cube_twin: LockstepTwin) -> None:
    arm = cube_twin.reset(0)
    rng = np.random.default_rng(3)
    for _ in range(5):
        cube_twin.physics.data.qpos[:7] = rng.uniform(LIMITS.lower_q_rad, LIMITS.upper_q_rad)
        cube_twin.physics.simulate(1)
        expected = cube_twin.physics.arm.jacobian(cube_twin.physics.data)
        q_rad = np.array(cube_twin.physics.data.qpos[:7])
        got = jacobian(q_rad, cube_twin.physics.O_T_EE().p_m)
        np.testing.assert_allclose(got, expected, atol=1e-3)
    assert arm.step > 0
