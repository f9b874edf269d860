"""The flywheel's stages: who acts when, what is kept, what is skipped, what resumes."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pld.base_policy.builtin import BuiltinPolicy
from pld.distill.episodes import corrected_part, episode_path, read_episodes, write_episode
from pld.distill.sft import SftConfig
from pld.errors import ConfigError
from pld.evaluation.seeds import Purpose, evaluation_seeds, purpose_of
from pld.files import read_json, write_json_atomically
from pld.flywheel import controls
from pld.flywheel.collecting import TooFewSuccessesError, collect_successes
from pld.flywheel.config import FlywheelConfig, tasks_of
from pld.flywheel.controls import run_controls
from pld.flywheel.kept import kept_limits
from pld.flywheel.names import controls_named
from pld.flywheel.rolling import Cast, Rolled, Specialist, roll
from pld.flywheel.stage import SilentMeter, current_stages, run_stage
from pld.flywheel.stages import distill, load_specialist, probe, steps_to
from pld.flywheel.summary import counterpart, curves_of, write_summary
from pld.flywheel.turning import Flywheel
from pld.flywheel.twin_world import LIMITS_FILE
from pld.probing.horizon import takeover_of_seed
from pld.residual.actor import ResidualActor
from pld.residual.config import ResidualConfig
from pld.types import ActionSource, Array, Observation
from tests.pld import vla_fixtures
from tests.pld.flywheel_world import PointWorld

torch.set_num_threads(1)
TASK = "cube_pickup"
SFT = SftConfig(steps=4, batch_size=8, warmup_steps=1, save_every=2)
RESIDUAL = ResidualConfig(
    base_episodes=4,
    calql_updates=4,
    online_steps=30,
    hidden=(16,),
    batch_size=16,
    learning_starts=8,
    updates_per_step=0.5,
    decision_steps=1,
)
CONFIG = FlywheelConfig(
    (TASK,),
    seed=1,
    rounds=2,
    demonstrations=6,
    probing_episodes=3,
    evaluation_episodes=6,
    base_sft=SFT,
    distill_sft=SFT,
    specialist=RESIDUAL,
    specialists=2,
)


class Right:
    """A base policy that always goes right, twice as far as the safety filter allows."""

    policy_id = "right"

    def reset(self, seed: int) -> None:
        pass

    def infer(self, observation: Observation) -> Array:
        return np.array([[1.0, 0, 0, 0, 0, 0, 1.0]])


def test_the_label_is_the_executed_action_not_the_chosen_one() -> None:
    rolled = roll(PointWorld(TASK), 0, Cast(Right()), keep=True)
    assert rolled.episode is not None
    np.testing.assert_allclose(rolled.episode.executed[0, 0], 0.4, atol=1e-6)
    np.testing.assert_allclose(rolled.episode.base[0, 0], 1.0)


def test_a_simulation_that_breaks_ends_the_episode_before_the_broken_step() -> None:
    world = PointWorld(TASK)
    world.robot.diverges_at = 3
    rolled = roll(world, 0, Cast(Right()), keep=True)
    assert (rolled.reason, rolled.success, rolled.steps) == ("diverged", False, 2)
    assert rolled.episode is not None
    assert len(rolled.episode) == 2


@pytest.fixture(scope="module")
def turned(tmp_path_factory: pytest.TempPathFactory) -> Flywheel:
    wheel = Flywheel(tmp_path_factory.mktemp("run"), CONFIG, PointWorld, SilentMeter())
    wheel.turn()
    return wheel


def _specialist(wheel: Flywheel) -> Specialist:
    return load_specialist(*wheel.specialist_files(TASK), TASK)


def test_the_specialist_acts_from_the_takeover_step_on_and_on_its_own_base(
    turned: Flywheel,
) -> None:
    specialist = _specialist(turned)
    cast = Cast(Right(), specialist, 3)
    world = PointWorld(TASK)
    world.succeeded = lambda: False  # type: ignore[method-assign]
    rolled = roll(world, 5, cast, keep=True)
    assert rolled.episode is not None
    sources = rolled.episode.source.tolist()
    assert sources == [int(ActionSource.BASE)] * 3 + [int(ActionSource.SPECIALIST)] * 12
    np.testing.assert_allclose(rolled.episode.base[:3, 0], 1.0)
    alone = BuiltinPolicy.load(turned.policy_file("base"))
    images, body = rolled.episode.images[3], rolled.episode.proprio[3].astype(float)
    own, _ = alone.forward_arrays(images, body, world.instruction)
    np.testing.assert_allclose(rolled.episode.base[3], own[0], atol=1e-5)


def test_a_specialist_over_another_base_is_refused(turned: Flywheel) -> None:
    other = BuiltinPolicy.load(turned.policy_file("distilled-1"))
    residual: ResidualActor = _specialist(turned).residual
    with pytest.raises(ConfigError, match="trained over"):
        Specialist(other, residual)


def test_probing_keeps_whole_successful_episodes_with_takeovers_within_alpha(
    turned: Flywheel,
) -> None:
    horizon = turned.figures(f"specialist/{TASK}")["horizon_steps"]
    episodes = read_episodes(turned.folder / "probing-1" / TASK)
    assert len(episodes) == CONFIG.probing_episodes
    for episode in episodes:
        assert episode.success
        assert 0 <= episode.takeover_step <= 0.6 * horizon
        assert (episode.source[: episode.takeover_step] == ActionSource.BASE).all()
        assert (episode.source[episode.takeover_step :] == ActionSource.SPECIALIST).all()
        assert purpose_of(episode.seed) is Purpose.PROBING


def test_the_second_round_begins_with_the_distilled_policy(turned: Flywheel) -> None:
    episodes = read_episodes(turned.folder / "probing-2" / TASK)
    distilled = BuiltinPolicy.load(turned.policy_file("distilled-1"))
    checked = [e for e in episodes if e.takeover_step > 0]
    assert checked
    for episode in checked:
        chunk, _ = distilled.forward_arrays(
            episode.images[0], episode.proprio[0].astype(float), episode.instruction
        )
        np.testing.assert_allclose(episode.base[0], chunk[0], atol=1e-5)


def test_every_policy_is_evaluated_on_the_same_fresh_starts(turned: Flywheel) -> None:
    summary = write_summary(turned, None)
    names = {rate["name"] for rate in summary["rates"]}
    own = {"base", "specialist", "specialist-2", "distilled-1", "distilled-2"}
    assert {n for n in names if not n.startswith("control-")} == own
    compared = {c["first"] for c in summary["comparisons"] if c["region"] == "all"}
    assert {n for n in compared if not n.startswith("control-")} == own - {"distilled-2"}
    assert (turned.folder / summary["report"]).read_text().startswith("<!doctype html>")


def test_a_run_that_learned_from_a_start_of_its_evaluations_has_no_summary(
    turned: Flywheel,
) -> None:
    (evaluated, *_) = evaluation_seeds(CONFIG.seed, 1)
    log = turned.folder / "probing-1" / TASK / "attempts" / f"{evaluated}.json"
    assert log.parent.is_dir()
    log.write_text("{}")
    try:
        with pytest.raises(ConfigError, match=str(evaluated)):
            write_summary(turned, None)
    finally:
        log.unlink()


def test_finished_stages_are_skipped_and_nothing_is_written_again(turned: Flywheel) -> None:
    files = {p: p.stat().st_mtime_ns for p in turned.folder.rglob("*.safetensors")}
    again = Flywheel(turned.folder, CONFIG, PointWorld, SilentMeter())
    again.turn()
    assert all(record.skipped for record in again.records)
    assert files == {p: p.stat().st_mtime_ns for p in turned.folder.rglob("*.safetensors")}


def test_a_changed_output_is_not_passed_off_as_the_stages_work(turned: Flywheel) -> None:
    path = turned.folder / "evaluation" / "base" / TASK / "evaluation.json"
    before = path.read_bytes()
    path.write_bytes(before + b" ")
    with pytest.raises(ConfigError, match="changed after its stage finished"):
        turned.evaluate("base")
    path.write_bytes(before)


class _KilledError(Exception):
    pass


class _KillingMeter(SilentMeter):
    """Ends the process's work after so many updates."""

    def __init__(self, updates: int) -> None:
        self.left = updates

    def update(self, completed: int, note: str = "") -> None:
        self.left -= 1
        if self.left < 0:
            raise _KilledError


def test_a_run_killed_again_and_again_ends_with_the_same_weights(
    turned: Flywheel, tmp_path: Path
) -> None:
    for updates in range(2, 200, 6):
        wheel = Flywheel(tmp_path, CONFIG, PointWorld, _KillingMeter(updates))
        try:
            wheel.turn()
            break
        except _KilledError:
            continue
    else:
        pytest.fail("the run made no progress")
    for name in ("base", "distilled-1", "distilled-2"):
        assert wheel.policy_file(name).read_bytes() == turned.policy_file(name).read_bytes()
    found, expected = (load_file(w.specialist_files(TASK).residual) for w in (wheel, turned))
    for key, value in expected.items():
        assert torch.equal(found[key], value), key


def test_extra_demonstrations_get_as_many_episodes_and_steps(turned: Flywheel) -> None:
    run_controls(turned, ["extra-demonstrations"])
    name = "control-extra-demonstrations"
    episodes = read_episodes(turned.folder / f"{name}-episodes" / TASK)
    assert len(episodes) == CONFIG.probing_episodes * CONFIG.rounds
    assert {purpose_of(e.seed) for e in episodes} == {Purpose.EXTRA_DEMONSTRATION}
    assert turned.figures(f"evaluation/{name}/{TASK}")["rate"][1] == 6


def test_fewer_episodes_are_the_first_of_the_round_and_of_the_demonstrations(
    turned: Flywheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controls, "FEWER", (2, CONFIG.probing_episodes))
    run_controls(turned, ["fewer-episodes"])
    assert not (turned.folder / f"control-probing-{CONFIG.probing_episodes}").exists()
    shown = read_episodes(turned.folder / "control-extra-demonstrations-episodes" / TASK)
    probed = [corrected_part(e) for e in read_episodes(turned.probing_folders(1)[0])]
    for name, episodes in (("demonstrations", shown), ("probing", probed)):
        frames = sum(len(e) for e in episodes[:2] if e is not None)
        assert turned.figures(f"control-{name}-2")["frames"] == frames
        assert turned.figures(f"evaluation/control-{name}-2/{TASK}")["rate"][1] == 6
    policies = [turned.policy_file(f"control-{n}-2") for n in ("demonstrations", "probing")]
    assert policies[0].read_bytes() != policies[1].read_bytes()


def test_alpha_zero_is_the_specialist_alone(turned: Flywheel) -> None:
    run_controls(turned, ["specialist-only"])
    folder = turned.folder / "control-specialist-only-episodes" / TASK
    for episode in read_episodes(folder):
        assert (episode.source == ActionSource.SPECIALIST).all()


def test_another_way_to_learn_is_evaluated_over_the_same_base(turned: Flywheel) -> None:
    run_controls(turned, ["xi-one"])
    actor = turned.folder / "control-xi-one-specialist" / TASK / "actor.safetensors"
    control = load_specialist(turned.policy_file("base"), actor, TASK).residual.residual_scale
    usual = _specialist(turned).residual.residual_scale
    assert (control[0], usual[0]) == (pytest.approx(1.0), pytest.approx(0.3))
    assert turned.figures(f"evaluation/control-xi-one/{TASK}")["rate"][1] == 6


def test_unknown_controls_list_the_valid_ones() -> None:
    with pytest.raises(ConfigError, match="alpha-sweep"):
        controls_named("nonsense")


def test_a_run_folder_of_another_seed_is_refused(turned: Flywheel) -> None:
    with pytest.raises(ConfigError, match="seed 1, not 2"):
        Flywheel(turned.folder, replace(CONFIG, seed=2), PointWorld, SilentMeter())


def test_collecting_without_successes_ends_and_says_what_to_do(tmp_path: Path) -> None:
    def fail(seed: int, attempt: int) -> Rolled:
        return Rolled(seed, False, 3, "left", -1, "horizon")

    with pytest.raises(TooFewSuccessesError, match="0 of 20 episodes succeeded"):
        collect_successes(tmp_path, range(1000), 5, fail, SilentMeter())


def test_a_start_that_failed_is_tried_again_and_remembered(tmp_path: Path) -> None:
    tried: list[tuple[int, int]] = []

    def second_try(seed: int, attempt: int) -> Rolled:
        tried.append((seed, attempt))
        return Rolled(seed, attempt == 1 and seed != 1, 3, "left", attempt, "horizon")

    for _ in range(2):
        found = collect_successes(tmp_path, range(9), 2, second_try, SilentMeter(), tries=3)
        assert tried == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1)]
        assert (found.attempts, found.successes) == (7, 2)
        assert found.takeover_steps == (1, 1)


def test_a_start_that_failed_is_searched_at(
    turned: Flywheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[tuple[int, int | None, list[float]]] = []

    def third_try(world: PointWorld, seed: int, cast: Cast, *, keep: bool) -> Rolled:
        rolled = roll(world, seed, cast, keep=keep)
        assert rolled.episode is not None
        tried.append((seed, cast.search, (rolled.episode.executed[-1]).tolist()))
        return replace(rolled, success=cast.search == 2)

    monkeypatch.setattr("pld.flywheel.stages.roll", third_try)
    cast = Cast(Right(), _specialist(turned))
    probe(tmp_path, PointWorld(TASK), cast, range(2), 2, 0.6, 0, SilentMeter(), tries=4)
    assert [(seed, search) for seed, search, _ in tried] == [
        (seed, search) for seed in range(2) for search in (None, 1, 2)
    ]
    assert len({tuple(last) for _, _, last in tried}) == len(tried)


def test_every_attempt_at_a_start_draws_a_takeover_of_its_own() -> None:
    drawn = [[takeover_of_seed(seed, 12, attempt) for seed in range(40)] for attempt in range(3)]
    assert drawn[0] == [takeover_of_seed(seed, 12) for seed in range(40)]
    assert drawn[0] != drawn[1] != drawn[2] != drawn[0]
    assert all(0 <= step <= 12 for steps in drawn for step in steps)


def test_a_stage_with_other_inputs_starts_from_an_empty_folder(tmp_path: Path) -> None:
    def work(folder: Path) -> dict[str, object]:
        found = [p.name for p in folder.iterdir()]
        write_json_atomically(folder / "out.json", {})
        return {"found": found}

    run_stage(tmp_path, "s", {"a": 1}, [], work, SilentMeter())
    (tmp_path / "s" / "rest.txt").write_text("old")
    record = run_stage(tmp_path, "s", {"a": 2}, [], work, SilentMeter())
    assert record.figures == {"found": ["begun.json"]}
    assert not record.skipped
    assert run_stage(tmp_path, "s", {"a": 2}, [], work, SilentMeter()).skipped
    assert read_json(tmp_path / "s" / "done.json")["outputs"].keys() == {"out.json"}
    assert (tmp_path / ".replaced" / "s-1" / "rest.txt").read_text() == "old"
    run_stage(tmp_path, "s", {"a": 3}, [], work, SilentMeter())
    assert len(list((tmp_path / ".replaced").iterdir())) == 2
    assert [folder.name for folder in current_stages(tmp_path)] == ["s"]


def test_nothing_is_made_of_a_stage_that_was_not_finished(tmp_path: Path) -> None:
    def interrupted(folder: Path) -> dict[str, object]:
        write_json_atomically(folder / "out.json", {})
        raise KeyboardInterrupt

    made = tmp_path / "probing-1" / TASK
    with pytest.raises(KeyboardInterrupt):
        run_stage(tmp_path, f"probing-1/{TASK}", {}, [], interrupted, SilentMeter())
    for upstream in (made, made / "out.json"):
        with pytest.raises(ConfigError, match=r"is not finished; `pld probe --round 1 --run"):
            run_stage(tmp_path, "distilled-1", {}, [upstream], interrupted, SilentMeter())
    assert not (tmp_path / "distilled-1").exists()


def test_a_run_keeps_the_limits_that_it_was_begun_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "package.yaml"
    package.write_text(LIMITS_FILE.read_text())
    monkeypatch.setattr("pld.flywheel.kept.LIMITS_FILE", package)
    began = kept_limits(tmp_path)
    package.write_text(
        package.read_text().replace(f"max_lead_m: {began.max_lead_m}", "max_lead_m: 0.001")
    )
    assert kept_limits(tmp_path) == began
    (tmp_path / "other").mkdir()
    assert kept_limits(tmp_path / "other") != began


def test_a_stage_done_again_to_the_same_bits_leaves_the_later_ones_done(
    turned: Flywheel, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(turned.folder, tmp_path / "run"))
    for name in (f"specialist/{TASK}", f"probing-1/{TASK}"):
        shutil.rmtree(folder / name)
    again = Flywheel(folder, CONFIG, PointWorld, SilentMeter())
    again.turn()
    done = {record.name for record in again.records if not record.skipped}
    assert done == {f"specialist/{TASK}", f"probing-1/{TASK}"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"success": False}, "with seed 7 failed; only successes"),
        ({"seed": 1_000_000_003}, "seed 1000000003 begins at a start that evaluations are"),
        ({"rate_hz": 20.0}, "were recorded at 20 Hz and the policy acts at 10 Hz"),
        ({"source": np.zeros(12, np.uint8)}, "in none of the 1 episodes did the specialist or a"),
    ],
)
def test_what_may_not_be_learned_from_is_refused(
    turned: Flywheel, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    recorded = replace(vla_fixtures.episode(7), **({"task": TASK, "success": True} | change))
    write_episode(episode_path(tmp_path, 7), recorded)
    with pytest.raises(ConfigError, match=message):
        distill(
            tmp_path / "new",
            [tmp_path],
            turned.policy_file("base"),
            SftConfig(steps=1),
            10.0,
            SilentMeter(),
        )


@pytest.mark.parametrize(
    ("stage", "command"),
    [
        ("base/policy.safetensors", "pld train base"),
        ("demonstrations/cube_pickup", "pld train base"),
        ("specialist/cube_pickup/actor.safetensors", "pld train specialist --round 1"),
        ("specialist-2/cube_pickup", "pld train specialist --round 2"),
        ("probing-2/cube_pickup", "pld probe --round 2"),
        ("distilled-1/policy.safetensors", "pld distill --round 1"),
        ("control-xi-one-specialist/cube_pickup", "pld flywheel --controls xi-one"),
        ("control-alpha-0.3/policy.safetensors", "pld flywheel --controls alpha-sweep"),
        ("control-probing-50/policy.safetensors", "pld flywheel --controls fewer-episodes"),
    ],
)
def test_a_missing_upstream_is_named_with_the_command_that_makes_it(
    tmp_path: Path, stage: str, command: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        run_stage(tmp_path, "s", {}, [tmp_path / stage], lambda folder: {}, SilentMeter())
    assert str(caught.value) == (
        f"'{tmp_path}/{stage}' is missing; `{command} --run {tmp_path}` makes it"
    )
    assert not (tmp_path / "s").exists()


def test_steps_to_a_share_counts_environment_steps() -> None:
    points = [[10 * (i + 1), int(i >= 20)] for i in range(100)]
    assert steps_to(points, 0.9) == 10 * 65
    assert steps_to(points[:30], 0.9) is None


def test_a_base_of_two_tasks_is_trained_for_twice_the_steps() -> None:
    alone, both = (FlywheelConfig(tasks_of(name), seed=3).base_sft_of() for name in (TASK, "all"))
    assert (both.steps, both.seed) == (2 * alone.steps, 3)


def test_all_tasks_share_one_base() -> None:
    assert tasks_of("all") == ("cube_pickup", "peg_insertion")
    assert tasks_of("peg_insertion") == ("peg_insertion",)
    with pytest.raises(ConfigError, match="valid: cube_pickup"):
        tasks_of("nothing")


def test_the_demonstrator_is_imperfect_and_only_its_successes_are_kept(turned: Flywheel) -> None:
    figures = turned.figures(f"demonstrations/{TASK}")
    assert figures["successes"] == CONFIG.demonstrations < figures["attempts"]
    episodes = read_episodes(turned.folder / "demonstrations" / TASK)
    assert [e.success for e in episodes] == [True] * CONFIG.demonstrations


def test_the_second_specialist_is_trained_over_the_first_distilled_policy(
    turned: Flywheel,
) -> None:
    files = turned.specialist_files(TASK, 2)
    assert files.base == turned.policy_file("distilled-1")
    distilled = BuiltinPolicy.load(files.base)
    assert load_specialist(*files, TASK).residual.card.base_policy_id == distilled.policy_id
    rates = {r["name"]: r for r in write_summary(turned, None)["rates"]}
    assert rates["specialist-2"]["trials"] == CONFIG.evaluation_episodes


def test_a_run_taken_up_with_other_demonstrations_tells_nothing_of_the_old_policies(
    turned: Flywheel, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(turned.folder, tmp_path / "run"))
    run_controls(Flywheel(folder, CONFIG, PointWorld, SilentMeter()), ("specialist-only",))
    changed = replace(CONFIG, demonstrations=7, rounds=1, specialists=1)
    again = Flywheel(folder, changed, PointWorld, SilentMeter())
    again.turn()
    summary = write_summary(again, None)
    assert {r["name"] for r in summary["rates"]} == {"base", "specialist", "distilled-1"}
    told = {s["name"] for s in summary["stages"]}
    assert not told & {"control-specialist-only", "distilled-2", f"specialist-2/{TASK}"}
    assert curves_of(current_stages(folder)).keys() == {f"{TASK} specialist"}


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("base", "distilled-2"),
        ("base@corner", "distilled-2@corner"),
        ("control-rlpd@corner", "specialist@corner"),
        ("control-alpha-0@corner", "distilled-1@corner"),
    ],
)
def test_a_policy_is_compared_with_one_on_the_same_starts(name: str, other: str) -> None:
    assert counterpart(name, "distilled-2") == other


def test_a_summary_is_written_where_policies_were_evaluated_on_different_starts(
    turned: Flywheel, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(turned.folder, tmp_path / "run"))
    fewer = Flywheel(folder, replace(CONFIG, evaluation_episodes=2), PointWorld, SilentMeter())
    fewer.evaluate("distilled-2")
    rates = {r["name"]: r["trials"] for r in write_summary(fewer, None)["rates"]}
    assert (rates["base"], rates["distilled-2"]) == (CONFIG.evaluation_episodes, 2)


def test_an_evaluation_of_another_length_goes_on_from_the_episodes_that_were_run(
    turned: Flywheel, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(turned.folder, tmp_path / "run"))
    stage = folder / "evaluation" / "distilled-2" / TASK
    whole = (stage / "evaluation.json").read_text()
    logs = {p: p.stat().st_mtime_ns for p in stage.glob(".episodes/*.json")}
    for count in (2, CONFIG.evaluation_episodes):
        config = replace(CONFIG, evaluation_episodes=count)
        Flywheel(folder, config, PointWorld, SilentMeter()).evaluate("distilled-2")
        assert len(read_json(stage / "evaluation.json")["episodes"]) == count
    assert logs == {p: p.stat().st_mtime_ns for p in stage.glob(".episodes/*.json")}
    assert (stage / "evaluation.json").read_text() == whole


def test_a_region_without_a_common_start_is_not_compared(turned: Flywheel, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(turned.folder, tmp_path / "run"))
    fewer = Flywheel(folder, replace(CONFIG, evaluation_episodes=1), PointWorld, SilentMeter())
    fewer.evaluate("distilled-2")
    rows = write_summary(fewer, None)["comparisons"]
    assert rows
    assert all(
        sum(row[k] for k in ("only_first", "only_second", "both", "neither")) for row in rows
    )


def test_every_control_is_compared_with_what_had_as_much_to_learn_from() -> None:
    pairs = {name: counterpart(name, "distilled-2") for name in ("base", "distilled-1")}
    assert set(pairs.values()) == {"distilled-2"}
    assert counterpart("control-extra-demonstrations", "distilled-2") == "distilled-2"
    assert counterpart("control-alpha-0.3", "distilled-2") == "distilled-1"
    assert counterpart("control-probing-50@corner", "distilled-2") == (
        "control-demonstrations-50@corner"
    )
    assert counterpart("control-demonstrations-50", "distilled-2") is None
    for name in ("rlpd", "no-base-data", "xi-one", "no-search", "failure-cost"):
        assert counterpart(f"control-{name}", "distilled-2") == "specialist"


def test_a_later_specialist_learns_slowly_whatever_the_task() -> None:
    for task in tasks_of("all"):
        config = FlywheelConfig((task,), specialists=2)
        first, later = (config.specialist_of(task, number) for number in (1, 2))
        assert later.actor_learning_rate == 5e-5 < first.actor_learning_rate
        assert later.decision_steps == first.decision_steps
        assert later.residual_scale == first.residual_scale


def test_the_cubes_later_rounds_keep_more_episodes_and_controls_as_many() -> None:
    cube, peg = (FlywheelConfig((task,)) for task in ("cube_pickup", "peg_insertion"))
    assert [cube.probing_episodes_of("cube_pickup", n) for n in (1, 2, 3)] == [150, 300, 300]
    assert [peg.probing_episodes_of("peg_insertion", n) for n in (1, 2)] == [150, 150]
    assert cube.all_episodes_of("cube_pickup", 3) == 750
    assert replace(cube, probing_episodes=9).all_episodes_of("cube_pickup", 2) == 18


def test_later_rounds_keep_the_last_specialist() -> None:
    assert FlywheelConfig((TASK,), rounds=3).specialist_rounds == 1
    assert FlywheelConfig((TASK,), rounds=3, specialists=2).specialist_rounds == 2
    assert FlywheelConfig((TASK,), rounds=1, specialists=2).specialist_rounds == 1
    with pytest.raises(ConfigError, match="specialists is 0"):
        FlywheelConfig((TASK,), specialists=0)


def test_later_rounds_probe_further_and_the_first_as_the_paper_does(
    turned: Flywheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = FlywheelConfig((TASK,), rounds=3)
    assert [config.probing_alpha_of(i) for i in (1, 2, 3)] == [0.6, 1.3, 1.3]
    given: list[tuple[float, int]] = []

    def noted(folder: Path, *arguments: Any, tries: int) -> dict[str, Any]:
        given.append((arguments[4], arguments[5]))
        return probe(folder, *arguments, tries=tries)

    monkeypatch.setattr("pld.flywheel.stages.probe", noted)
    folder = Path(shutil.copytree(turned.folder, tmp_path / "run"))
    again = Flywheel(folder, CONFIG, PointWorld, SilentMeter())
    for number in (1, 2):
        shutil.rmtree(folder / f"probing-{number}")
        again.probe(TASK, number)
    horizons = [
        turned.figures(f"{name}/{TASK}")["horizon_steps"] for name in ("specialist", "specialist-2")
    ]
    assert given == list(zip((0.6, 1.3), horizons, strict=True))
    with pytest.raises(ConfigError, match=r"later_probing_alpha is 2\.5; give one from 0 to 2"):
        FlywheelConfig((TASK,), later_probing_alpha=2.5)
