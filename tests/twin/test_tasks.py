"""Starts belong to their seed and region; success cannot be had by throwing or standing still."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from pld.errors import ConfigError
from pld.flywheel.twin_world import TwinWorld
from pld.robots.twin import LockstepTwin, TwinConfig
from pld.twin.tasks import TASKS, SuccessMonitor, task_named
from pld.twin.tasks.cube_pickup import CUBE_JOINT, SQUARES_HALF_M, TRAY_CENTRE_M, TRAY_HALF_M
from pld.twin.tasks.peg_insertion import PEG_JOINT, SOCKET_HEIGHT_M
from pld.types import Command

STARTS = [(task, region) for task in TASKS for region in TASKS[task].regions]


def test_an_unknown_task_is_refused_with_the_valid_names() -> None:
    with pytest.raises(ConfigError, match=r"pour_tea.*cube_pickup, peg_insertion"):
        task_named("pour_tea")


@pytest.mark.parametrize("task", TASKS)
def test_a_start_belongs_to_its_seed(task: str) -> None:
    first, again = (task_named(task).initial_state(7) for _ in range(2))
    other = task_named(task).initial_state(8)
    assert first.region == again.region
    for name, qpos in first.objects.items():
        np.testing.assert_array_equal(qpos, again.objects[name])
        assert not np.array_equal(qpos, other.objects[name])


@pytest.mark.parametrize("task", TASKS)
def test_every_region_is_drawn(task: str) -> None:
    drawn = {task_named(task).initial_state(seed).region for seed in range(40)}
    assert drawn == set(task_named(task).regions)


@pytest.mark.parametrize("task", TASKS)
def test_an_unknown_region_is_refused(task: str) -> None:
    with pytest.raises(ConfigError, match="region 'moon'"):
        task_named(task).initial_state(0, "moon")


@pytest.mark.parametrize(("region", "walls"), [("centre", 0), ("wall", 1), ("corner", 2)])
def test_a_cube_lies_at_as_many_walls_as_its_region_says(
    cube_twin: LockstepTwin, region: str, walls: int
) -> None:
    for seed in range(12):
        cube_twin.reset(seed, region)
        physics = cube_twin.physics
        centre = np.array(TRAY_CENTRE_M)
        corners = physics.data.geom("cube_geom").xmat.reshape(3, 3)[:2] @ _cube_corners()
        reach = np.abs(physics.data.geom("cube_geom").xpos[:2] - centre) + corners.max(axis=1)
        gaps = TRAY_HALF_M - reach
        assert np.all(gaps > -1e-6)
        assert np.sum(gaps < 0.0041) == walls


def _cube_corners() -> np.ndarray:
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    return 0.02 * signs.T


def test_a_thrown_cube_is_no_success(cube_twin: LockstepTwin) -> None:
    cube_twin.reset(0)
    model, data = cube_twin.physics.model, cube_twin.physics.data
    monitor = SuccessMonitor(cube_twin.task)
    dof = int(model.joint(CUBE_JOINT).dofadr[0])
    data.qvel[dof + 2] = 2.0
    highest = 0.0
    for _ in range(400):
        mujoco.mj_step(model, data)
        highest = max(highest, float(data.body("cube").xpos[2]))
        assert not monitor.update(model, data)
    assert highest > 0.15


def test_a_cube_that_nobody_holds_is_no_success(cube_twin: LockstepTwin) -> None:
    cube_twin.reset(0)
    model, data = cube_twin.physics.model, cube_twin.physics.data
    data.qpos[11] = 0.15
    mujoco.mj_forward(model, data)
    assert not cube_twin.task.satisfied(model, data)


def test_success_has_to_last() -> None:
    class Always:
        def satisfied(self, model: object, data: object) -> bool:
            return True

    class At:
        time = 0.0

    monitor, now = SuccessMonitor(Always()), At()  # type: ignore[arg-type]
    seen = []
    for now.time in (0.0, 0.05, 0.10, 0.15):
        seen.append(monitor.update(None, now))  # type: ignore[arg-type]
    assert seen == [False, False, False, True]


def test_the_peg_is_held_by_friction_alone(peg_twin: LockstepTwin) -> None:
    arm = peg_twin.reset(0)
    start = peg_twin.truth().O_T_object.p_m
    for _ in range(20):
        arm = peg_twin.wait_step()
    held = peg_twin.truth().O_T_object.p_m
    np.testing.assert_allclose(held, start, atol=1e-3)
    assert arm.gripper_width_m == pytest.approx(0.02, abs=0.002)
    for _ in range(20):
        peg_twin.apply(Command(arm.step, arm.reference, 1.0, np.zeros(7)))
        arm = peg_twin.wait_step()
    assert peg_twin.truth().O_T_object.p_m[2] < start[2] - 0.1


@pytest.mark.parametrize(
    ("across_m", "depth_m", "expected"),
    [
        (0.0, 0.030, True),
        (0.0, 0.010, False),
        (0.060, 0.030, False),
    ],
)
def test_only_a_peg_in_the_hole_is_inserted(
    peg_twin: LockstepTwin, across_m: float, depth_m: float, expected: bool
) -> None:
    peg_twin.reset(3)
    model, data = peg_twin.physics.model, peg_twin.physics.data
    goal = peg_twin.truth().O_T_goal.p_m
    start = int(model.joint(PEG_JOINT).qposadr[0])
    height = SOCKET_HEIGHT_M - depth_m + 0.045
    data.qpos[start : start + 3] = [goal[0] + across_m, goal[1], height]
    data.qpos[start + 3 : start + 7] = [0.0, 1.0, 0.0, 0.0]
    assert peg_twin.task.satisfied(model, data) is expected


@pytest.mark.parametrize(("task", "region"), STARTS)
def test_nothing_penetrates_at_a_start(
    task: str, region: str, request: pytest.FixtureRequest
) -> None:
    twin: LockstepTwin = request.getfixturevalue({"c": "cube_twin", "p": "peg_twin"}[task[0]])
    for seed in range(8):
        twin.reset(seed, region)
        contacts = twin.physics.data.contact
        assert contacts.dist.size == 0 or contacts.dist.min() > -0.001


def test_people_demonstrate_the_cube_out_of_corners_and_seeds_never_draw_that() -> None:
    task = task_named("cube_pickup")
    assert task.demonstrated == "open"
    assert not set(task.laid_when_asked) & set(task.regions)
    drawn = {task.initial_state(seed).region for seed in range(60)}
    assert drawn == set(task.regions)


@pytest.mark.parametrize(("region", "half_m"), list(SQUARES_HALF_M.items()))
def test_what_is_demonstrated_is_a_square_clear_of_the_walls(region: str, half_m: float) -> None:
    task = task_named("cube_pickup")
    starts = [task.initial_state(seed, region) for seed in range(60)]
    assert {start.region for start in starts} == {region}
    offsets_m = np.abs([s.objects[CUBE_JOINT][:2] - np.array(TRAY_CENTRE_M) for s in starts])
    assert 0.9 * half_m < offsets_m.max() <= half_m + 1e-9
    assert half_m < TRAY_HALF_M - 0.03


def test_a_dozen_demonstrations_in_a_row_leave_no_quarter_of_the_tray_out() -> None:
    task = task_named("cube_pickup")
    for first in (0, 200_000_000, 200_100_000, 200_200_000):
        starts = [task.initial_state(first + i, "open").objects[CUBE_JOINT][:2] for i in range(12)]
        offsets_m = np.array(starts) - np.array(TRAY_CENTRE_M)
        for x_sign, y_sign in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            assert (np.sum((offsets_m * (x_sign, y_sign) > 0).all(1))) >= 2


def test_the_lockstep_twin_starts_where_its_configuration_says() -> None:
    twin = LockstepTwin(task_named("cube_pickup"), TwinConfig(starts_in="open", image_px=None))
    twin.reset(3)
    assert twin.region == "open"
    twin.reset(3, "corner")
    assert twin.region == "corner"


def test_a_region_that_a_task_does_not_have_is_refused_with_those_it_has() -> None:
    with pytest.raises(ConfigError, match=r"'edge'; valid: .*corner"):
        TwinWorld("cube_pickup").starting_in("edge")
