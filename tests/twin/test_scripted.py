"""Scripted policies: the expert solves every region, the imperfect one errs as it is told to."""

from __future__ import annotations

import numpy as np
import pytest

from pld.base_policy.scripted import ExpertPolicy, ImperfectPolicy, Misperception
from pld.contract import ActionSpec
from pld.errors import ConfigError
from pld.robots.twin import LockstepTwin
from pld.types import ArmState, Command, Observation, Pose, SceneTruth

SPEC = ActionSpec()
UPRIGHT = np.array([0.0, 0.0, 0.0, 1.0])


def rolled(twin: LockstepTwin, policy: ExpertPolicy, arm: ArmState, execute: int = 1) -> float:
    """Run until success or 8 s; returns the largest contact force [N], infinite on failure."""
    force = 0.0
    for step in range(160):
        if step % execute == 0:
            chunk = policy.infer(Observation(arm, {}, ""))
        action = chunk[step % execute]
        target = SPEC.advance(arm.reference, action)
        twin.apply(Command(arm.step, target, float(action[6]), action))
        arm = twin.wait_step()
        force = max(force, twin.contact_n)
        if twin.success:
            return force
    return np.inf


@pytest.mark.parametrize("region", ["centre", "wall", "corner"])
def test_the_expert_lifts_the_cube_gently(cube_twin: LockstepTwin, region: str) -> None:
    policy = ExpertPolicy("cube_pickup", cube_twin.truth, SPEC)
    assert rolled(cube_twin, policy, cube_twin.reset(31, region)) < 40.0


@pytest.mark.parametrize("region", ["near", "far"])
def test_the_expert_inserts_the_peg_gently(peg_twin: LockstepTwin, region: str) -> None:
    policy = ExpertPolicy("peg_insertion", peg_twin.truth, SPEC)
    assert rolled(peg_twin, policy, peg_twin.reset(31, region)) < 40.0


@pytest.mark.parametrize("execute", [4, 8])
def test_chunks_solve_the_task_however_many_rows_are_executed(
    cube_twin: LockstepTwin, execute: int
) -> None:
    policy = ExpertPolicy("cube_pickup", cube_twin.truth, SPEC, chunk_horizon=8)
    assert np.isfinite(rolled(cube_twin, policy, cube_twin.reset(2, "wall"), execute))


def test_the_expert_recovers_from_a_state_it_did_not_cause(cube_twin: LockstepTwin) -> None:
    arm = cube_twin.reset(3, "centre")
    for _ in range(20):
        target = Pose(arm.reference.p_m + np.array([0.004, 0.004, -0.004]), arm.reference.q_xyzw)
        cube_twin.apply(Command(arm.step, target, -1.0, np.zeros(7)))
        arm = cube_twin.wait_step()
    policy = ExpertPolicy("cube_pickup", cube_twin.truth, SPEC)
    assert np.isfinite(rolled(cube_twin, policy, arm))


def test_actions_stay_in_the_unit_range(cube_twin: LockstepTwin) -> None:
    arm = cube_twin.reset(0, "corner")
    chunk = ExpertPolicy("cube_pickup", cube_twin.truth, SPEC, 30).infer(Observation(arm, {}, ""))
    assert chunk.shape == (30, 7)
    assert np.abs(chunk).max() <= 1.0
    assert np.linalg.norm(chunk[:, :3], axis=1).max() <= 1.0 + 1e-9


def test_an_imperfect_policy_repeats_its_error_for_a_seed_and_changes_it_for_another(
    cube_twin: LockstepTwin,
) -> None:
    arm = cube_twin.reset(0, "corner")
    policy = ImperfectPolicy("cube_pickup", cube_twin.truth, SPEC, 20)
    chunks = []
    for seed in (1, 2, 1):
        policy.reset(seed)
        chunks.append(policy.infer(Observation(arm, {}, "")))
    np.testing.assert_array_equal(chunks[0], chunks[2])
    assert not np.array_equal(chunks[0], chunks[1])


def test_misperception_pulls_to_the_centre_and_more_so_further_out(
    cube_twin: LockstepTwin,
) -> None:
    arm = cube_twin.reset(0)
    wrong = Misperception(0.16, 0.0, 0.0, 0.2, 0.6, (0.5, 0.0))

    def aimed_at(x_m: float) -> float:
        truth = SceneTruth(
            Pose(np.array([x_m, 0, 0.02]), UPRIGHT), Pose(np.array([0.5, 0, 0]), UPRIGHT)
        )
        policy = ImperfectPolicy("cube_pickup", lambda: truth, SPEC, 80, wrong)
        pose = arm.reference
        for action in policy.infer(Observation(arm, {}, ""))[:40]:
            pose = SPEC.advance(pose, action)
        return float(pose.p_m[0])

    assert aimed_at(0.5) == pytest.approx(0.5, abs=0.003)
    assert aimed_at(0.54) == pytest.approx(0.54 - 0.2 * 0.25 * 0.04, abs=0.003)
    assert aimed_at(0.61) == pytest.approx(0.61 - 0.2 * 0.6875 * 0.11, abs=0.003)


def test_an_unknown_task_is_refused_with_the_valid_names(cube_twin: LockstepTwin) -> None:
    with pytest.raises(ConfigError, match=r"fold_towel.*cube_pickup, peg_insertion"):
        ExpertPolicy("fold_towel", cube_twin.truth, SPEC)
