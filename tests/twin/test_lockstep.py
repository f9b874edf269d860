"""The lockstep twin: exact repetition, honest time, bounded force, loud when physics fails."""

from __future__ import annotations

import numpy as np
import pytest

from pld.config import load_yaml
from pld.contract import ActionSpec
from pld.errors import ConfigError, RobotError
from pld.flywheel.twin_world import LIMITS_FILE
from pld.robots.franka_config import FrankaConfig
from pld.robots.twin import LockstepTwin, TwinConfig, UnstableSimulationError
from pld.safety.filter import filter_choice
from pld.safety.limits import load_limits
from pld.twin.scene import SceneOptions
from pld.twin.tasks import task_named
from pld.types import ActionSource, ArmState, Array, Choice, Command, ControlMode, Pose


def moved(arm: ArmState, delta_m: tuple[float, float, float], gripper: float = 1.0) -> Command:
    target = Pose(arm.reference.p_m + np.array(delta_m), arm.reference.q_xyzw)
    return Command(arm.step, target, gripper, np.zeros(7))


def wandering(twin: LockstepTwin, seed: int) -> tuple[list[Array], Array]:
    rng = np.random.default_rng(1)
    arm = twin.reset(seed)
    positions = []
    for _ in range(30):
        twin.apply(moved(arm, tuple(rng.normal([0.0, 0.0, -0.005], 0.006)), rng.normal()))
        arm = twin.wait_step()
        positions.append(np.array(twin.physics.data.qpos))
    return positions, twin.images()["wrist"].rgb


def test_equal_seeds_and_commands_give_bit_identical_episodes(cube_twin: LockstepTwin) -> None:
    first, first_image = wandering(cube_twin, 4)
    wandering(cube_twin, 5)
    again, again_image = wandering(cube_twin, 4)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first_image, again_image)


@pytest.mark.parametrize("task", ["cube_pickup", "peg_insertion"])
def test_an_episode_does_not_depend_on_the_starts_before_it(task: str) -> None:
    fresh, used = (LockstepTwin(task_named(task), TwinConfig()) for _ in range(2))
    wandering(used, 9)
    first, first_image = wandering(fresh, 4)
    again, again_image = wandering(used, 4)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first_image, again_image)
    fresh.close()
    used.close()


def test_time_and_step_go_on_across_resets(cube_twin: LockstepTwin) -> None:
    states = [cube_twin.reset(0), cube_twin.wait_step(), cube_twin.wait_step(), cube_twin.reset(1)]
    assert np.diff([s.step for s in states]).tolist() == [1, 1, 1]
    assert np.diff([s.t_ns for s in states]).tolist() == [50_000_000] * 3


def test_one_wait_simulates_one_control_period(cube_twin: LockstepTwin) -> None:
    cube_twin.reset(0)
    before = cube_twin.physics.data.time
    cube_twin.wait_step()
    assert cube_twin.physics.data.time - before == pytest.approx(0.05)


@pytest.mark.parametrize("rate_hz", [10.0, 20.0])
def test_free_motion_at_full_speed_passes_the_filter_unchanged(rate_hz: float) -> None:
    spec = ActionSpec(rate_hz=rate_hz)
    twin = LockstepTwin(task_named("cube_pickup"), TwinConfig(spec=spec, image_px=None))
    limits = load_limits(LIMITS_FILE)
    arm = twin.reset(0)
    for step in range(round(0.4 * rate_hz)):
        action = np.array([0.7, 0.7, 0.0, 0.0, 0.0, 0.0, 1.0])
        command = filter_choice(Choice(step, ActionSource.BASE, action), arm, limits, spec)
        assert command.reasons == ()
        twin.apply(command)
        arm = twin.wait_step()
    assert arm.O_dP_EE[0] > 0.1


def test_a_target_is_reached(cube_twin: LockstepTwin) -> None:
    arm = cube_twin.reset(0)
    goal = arm.reference.p_m + np.array([0.03, 0.02, -0.03])
    for _ in range(6):
        cube_twin.apply(moved(arm, (0.005, 0.02 / 6, -0.005)))
        arm = cube_twin.wait_step()
    for _ in range(24):
        arm = cube_twin.wait_step()
    np.testing.assert_allclose(arm.reference.p_m, goal, atol=1e-9)
    np.testing.assert_allclose(arm.O_T_EE.p_m, goal, atol=0.0015)


def test_uncompensated_dry_friction_slows_a_small_step() -> None:
    def moved_m(scale: float) -> float:
        options = SceneOptions(timestep_s=0.002, frictionloss_scale=scale)
        twin = LockstepTwin(task_named("cube_pickup"), TwinConfig(scene=options, image_px=None))
        arm = twin.reset(0)
        start = arm.O_T_EE.p_m[1]
        twin.apply(moved(arm, (0.0, 0.004, 0.0)))
        for _ in range(6):
            arm = twin.wait_step()
        return float(arm.O_T_EE.p_m[1] - start)

    assert moved_m(0.1) > 0.0038
    assert moved_m(1.0) < 0.0032


def test_pressing_on_the_table_is_bounded_by_stiffness_times_clip(cube_twin: LockstepTwin) -> None:
    arm = cube_twin.reset(0, "corner")
    for _ in range(60):
        lower = arm.reference.p_m[2] > arm.O_T_EE.p_m[2] - 0.05
        cube_twin.apply(moved(arm, (0.0, 0.0, -0.006 if lower else 0.0)))
        arm = cube_twin.wait_step()
    assert arm.O_T_EE.p_m[2] < 0.02
    assert -36.0 < arm.O_F_ext_hat_K[2] < -20.0  # what the arm applies: downwards
    assert cube_twin.contact_n == pytest.approx(np.linalg.norm(arm.O_F_ext_hat_K[:3]))


def test_a_held_peg_weighs_on_the_hand(peg_twin: LockstepTwin) -> None:
    peg_twin.reset(0)
    for _ in range(10):
        arm = peg_twin.wait_step()
    assert arm.O_F_ext_hat_K[2] == pytest.approx(0.05 * 9.81, abs=0.05)  # it holds it up


def test_a_collision_is_a_fault_and_the_arm_stands_still_until_the_reset() -> None:
    twin = LockstepTwin(
        task_named("cube_pickup"), TwinConfig(collision_force_n=15.0, image_px=None)
    )
    arm = twin.reset(0, "corner")
    for _ in range(60):
        twin.apply(moved(arm, (0.0, 0.0, -0.006)))
        arm = twin.wait_step()
        if arm.control_mode is ControlMode.FAULT:
            break
    assert (arm.control_mode, arm.errors) == (ControlMode.FAULT, ("cartesian_reflex",))
    here = arm.O_T_EE.p_m
    for _ in range(10):
        twin.apply(moved(arm, (0.0, 0.0, 0.03)))
        arm = twin.wait_step()
    assert arm.control_mode is ControlMode.FAULT
    np.testing.assert_allclose(arm.O_T_EE.p_m, here, atol=0.005)
    assert not twin.success
    assert twin.reset(0, "corner").control_mode is ControlMode.TRACKING


def test_gains_and_thresholds_are_those_of_the_simulated_arms_driver() -> None:
    driver = load_yaml(LIMITS_FILE.parent / "arm_twin.yaml", FrankaConfig)
    config = TwinConfig()
    assert (config.collision_torque_nm, config.collision_force_n) == (
        driver.collision_torque_nm,
        driver.collision_force_n,
    )
    gains = config.gains
    assert (gains.translation_n_m, gains.rotation_nm_rad, gains.posture_nm_rad) == (
        driver.translational_stiffness_n_m,
        driver.rotational_stiffness_nm_rad,
        driver.posture_stiffness_nm_rad,
    )
    assert (gains.translation_clip_m, gains.rotation_clip_rad) == (
        driver.translational_clip_m,
        driver.rotational_clip_rad,
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_command_with_bad_numbers_holds(cube_twin: LockstepTwin, bad: float) -> None:
    arm = cube_twin.reset(0)
    here = arm.O_T_EE.p_m
    cube_twin.apply(Command(arm.step, Pose(np.array([bad, 0, 0]), arm.O_T_EE.q_xyzw), 1.0, here))
    for _ in range(5):
        arm = cube_twin.wait_step()
    np.testing.assert_allclose(arm.O_T_EE.p_m, here, atol=1e-3)


def test_the_fingers_open_and_close_as_fast_as_the_hand_can(cube_twin: LockstepTwin) -> None:
    arm = cube_twin.reset(0)
    for _ in range(8):
        cube_twin.apply(moved(arm, (0.0, 0.0, 0.0), -1.0))
        arm = cube_twin.wait_step()
    assert arm.gripper_width_m == pytest.approx(0.08 - 2 * 0.05 * 0.4, abs=0.008)
    assert arm.gripper_open == -1.0
    width = arm.gripper_width_m
    cube_twin.apply(moved(arm, (0.0, 0.0, 0.0), 0.0))
    assert cube_twin.wait_step().gripper_width_m < width


@pytest.mark.parametrize("wrong", [np.nan, 1e4])
def test_a_diverged_simulation_is_refused(cube_twin: LockstepTwin, wrong: float) -> None:
    cube_twin.reset(0)
    cube_twin.physics.data.qvel[9] = wrong
    with pytest.raises(UnstableSimulationError, match="truncate the episode"):
        cube_twin.wait_step()
    cube_twin.reset(0)
    assert np.all(np.isfinite(cube_twin.wait_step().q_rad))


def test_ten_hertz_works_and_a_rate_without_whole_substeps_is_refused() -> None:
    task = task_named("cube_pickup")
    slow = LockstepTwin(task, TwinConfig(spec=ActionSpec(rate_hz=10.0), image_px=None))
    slow.reset(0)
    assert slow.wait_step().t_ns - 100_000_000 == 100_000_000
    with pytest.raises(ConfigError, match="rate_hz 30"):
        LockstepTwin(task, TwinConfig(spec=ActionSpec(rate_hz=30.0)))


def test_a_constructor_connects_nothing() -> None:
    twin = LockstepTwin(task_named("cube_pickup"))
    with pytest.raises(RobotError, match="call connect"):
        _ = twin.physics
