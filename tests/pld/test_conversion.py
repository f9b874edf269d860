"""Bags as training data: whoever acted is the source, what was executed is the label."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mcap.reader import make_reader
from typer.testing import CliRunner

from pld import parity
from pld.cli.bag import app
from pld.contract import ActionSpec
from pld.conversion import convert, convert_folder
from pld.distill.episodes import read_episodes
from pld.errors import ContractError
from pld.probing.arbitrator import Offers, choose
from pld.recording import bag
from pld.recording.bag import VERDICT_NAME, RawMessage
from pld.recording.decoding import decoder
from pld.recording.labels import Label, append_label
from pld.recording.reader import read_episode
from pld.recording.recover import RecoverResult, bag_path, part_path, recover_episode
from pld.recording.schemas import schema_text
from pld.recording.translate import arm_state
from pld.safety.filter import filter_choice, hold_command
from pld.safety.limits import SafetyLimits, load_limits
from pld.types import ActionSource, ArmState, Choice, Command
from tests.pld.recording_stream import (
    ARM,
    EPISODE,
    FRONT,
    WRIST,
    Stream,
    arm_cdr,
    build,
    cdr,
    header,
    image_cdr,
    session,
    settle,
    status_cdr,
)

ROOT = Path(__file__).resolve().parents[2]
NS = 1_000_000_000
FIRST, SPEC = 100, ActionSpec()
BASE = np.array([0.1, 0.2, 0.0, 0.0, 0.0, 0.1, 1.0])
HUMAN = np.array([0.0, -0.9, 0.9, 0.0, 0.2, 0.0, -1.0])
B, H, O = ActionSource.BASE, ActionSource.HUMAN, ActionSource.HOLD  # noqa: E741


@pytest.fixture(scope="module")
def limits() -> SafetyLimits:
    return load_limits(ROOT / "launch" / "config" / "limits_fr3.yaml")


class Intervened(Stream):
    """An episode at 20 Hz in which each step was chosen as `sources` says, by the genuine code."""

    def __init__(self, limits: SafetyLimits, sources: list[ActionSource]) -> None:
        super().__init__()
        self._limits, self._sources = limits, sources
        self.silent_base: set[int] = set()
        self.tampered: set[int] = set()
        self.cut_short: set[int] = set()
        self.refused: set[int] = set()
        self.ended_before_end = 0  # so many steps were acted on before the end was told
        self.commands: list[Command] = []

    def whole(self) -> Iterator[RawMessage]:
        yield self.message(EPISODE, status_cdr(0, "e0", 2, FIRST))
        for count, source in enumerate(self._sources):
            yield from self._decided(FIRST + count, source)
        end_ns = (FIRST + len(self._sources)) * NS // 20
        yield self.message(ARM, self._state(end_ns, FIRST + len(self._sources)))
        end_ns -= self.ended_before_end * NS // 20
        yield self.message(EPISODE, status_cdr(end_ns, "e0", 3, FIRST, 1, "operator_success"))

    def _decided(self, step: int, source: ActionSource) -> Iterator[RawMessage]:
        t_ns = step * NS // 20
        self.now_ns += 50_000_000
        rgb = np.full((240, 424, 3), step % 256, np.uint8)
        for camera in (FRONT, WRIST):
            yield self.message(camera, image_cdr(t_ns - 10_000_000, rgb))
        state = self._state(t_ns, step)
        yield self.message(ARM, state)
        common = {"header": header(t_ns), "step": step}
        if step not in self.silent_base:
            seen = [header(t_ns - 10_000_000).stamp] * 2
            base = cdr(bag.BASE_ACTION, **common, image_stamps=seen, chunk_horizon=1, chunk=BASE)
            yield self.message("/pld/base/action", base)
        human = cdr(
            bag.HUMAN_ACTION, **common, deadman=source is H, human_action=HUMAN, device="scripted"
        )
        yield self.message("/pld/teleop/action", human)
        arm = arm_state(decoder(bag.ARM_STATE, schema_text(bag.ARM_STATE))(state))
        yield from self._let_through(arm, source, common)

    def _state(self, t_ns: int, step: int) -> bytes:
        """The driver executed the last command that it did not refuse."""
        executed = next((s for s in range(step - 1, 0, -1) if s not in self.refused), 0)
        return arm_cdr(t_ns, step, at_work=True, applied_step=executed)

    def _let_through(self, arm: ArmState, source: ActionSource, common) -> Iterator[RawMessage]:
        offers = {B: Offers(base=BASE), H: Offers(human=HUMAN), O: Offers()}[source]
        choice = choose(arm.step, arm.step - FIRST, -1, offers)
        command = filter_choice(choice, arm, self._limits, SPEC)
        if source is O:
            command = hold_command(arm, "hold_chosen")
        if arm.step in self.tampered:
            command = replace(command, executed_action=command.executed_action * 0.5)
        self.commands.append(command)
        yield self._choice(choice, common)
        yield self._command(command, common)
        if arm.step in self.cut_short:
            yield self._command(hold_command(arm, "node_silent"), common)

    def _choice(self, choice: Choice, common) -> RawMessage:
        human = choice.source is H
        told = {"source": int(choice.source), "action": choice.action, "is_intervention": human}
        return self.message("/pld/arbitrator/choice", cdr(bag.CHOICE, **common, **told))

    def _command(self, command: Command, common) -> RawMessage:
        position = build("geometry_msgs/msg/Point", **_named("xyz", command.target.p_m))
        turn = build("geometry_msgs/msg/Quaternion", **_named("xyzw", command.target.q_xyzw))
        return self.message(
            "/pld/arm/command",
            cdr(
                bag.ARM_COMMAND,
                **common,
                target=build("geometry_msgs/msg/Pose", position=position, orientation=turn),
                gripper_open=command.gripper_open,
                hold=command.hold,
                executed_action=command.executed_action,
                reasons=list(command.reasons),
            ),
        )


def _named(names: str, values: np.ndarray) -> dict[str, float]:
    return dict(zip(names, map(float, values), strict=True))


def recorded(run_dir: Path, stream: Intervened) -> Path:
    recorder = session(run_dir)
    for message in stream.whole():
        recorder.on_message(message)
    settle(recorder)
    return run_dir / "episodes" / "e0"


SOURCES = [B] * 5 + [H] * 4 + [O] * 3 + [H] * 2


def test_an_intervention_is_human_data_labelled_with_what_was_executed(tmp_path, limits) -> None:
    stream = Intervened(limits, SOURCES)
    found = convert(recorded(tmp_path, stream), limits, SPEC).episode
    assert list(found.source) == [B] * 5 + [H] * 6
    executed = [c.executed_action for c in stream.commands if not c.hold]
    np.testing.assert_array_equal(found.executed, np.clip(executed, -1, 1).astype(np.float32))
    assert found.executed[5, 1] < -0.5
    assert found.executed[5, 6] == -1.0
    np.testing.assert_array_equal(found.base, np.tile(BASE, (11, 1)).astype(np.float32))
    assert (found.success, found.takeover_step) == (True, -1)
    kept = [FIRST + i for i, source in enumerate(SOURCES) if source is not O]
    np.testing.assert_array_equal(found.images[:, 0, 0, 0, 0], kept)
    np.testing.assert_array_equal(found.images[:, 1, 0, 0, 0], kept)


def test_the_verdict_counts_the_interventions(tmp_path, limits) -> None:
    folder = recorded(tmp_path, Intervened(limits, SOURCES))
    episode = read_episode(folder)
    assert episode.verdict.steps.interventions == 6
    assert episode.verdict.termination_reason == "operator_success"
    deadman = [h.value.step for h in episode.human_actions if h.value.deadman]
    assert deadman == [FIRST + i for i, source in enumerate(SOURCES) if source is H]


def test_a_step_that_the_base_did_not_answer_is_left_out_and_counted(tmp_path, limits) -> None:
    stream = Intervened(limits, SOURCES)
    stream.silent_base = {FIRST + 6}
    found = convert(recorded(tmp_path, stream), limits, SPEC)
    assert list(found.episode.source) == [B] * 5 + [H] * 5
    assert found.held_steps == 4
    assert found.episode.gaps == (6, 8), "after the step without an answer, and after the holds"


def test_a_step_that_a_hold_cut_short_is_left_out_and_counted_once(tmp_path, limits) -> None:
    stream = Intervened(limits, SOURCES)
    stream.cut_short = {FIRST + 2, FIRST + 6}
    found = convert(recorded(tmp_path, stream), limits, SPEC)
    assert list(found.episode.source) == [B] * 4 + [H] * 5
    assert found.held_steps == 5


def test_what_was_acted_on_at_the_state_that_ended_it_is_no_step_of_the_episode(
    tmp_path, limits
) -> None:
    stream = Intervened(limits, [B] * 9)
    stream.ended_before_end = 1
    folder = recorded(tmp_path, stream)
    found = convert(folder, limits, SPEC)
    assert (len(found.episode), found.held_steps) == (8, 0)
    assert read_episode(folder).verdict.steps.steps == 8


def test_a_command_that_the_driver_refused_is_no_label(tmp_path, limits) -> None:
    stream = Intervened(limits, SOURCES)
    stream.refused = {FIRST + 1, FIRST + 6, FIRST + 7}
    found = convert(recorded(tmp_path, stream), limits, SPEC)
    assert list(found.episode.source) == [B] * 4 + [H] * 4
    assert found.held_steps == 6


def test_what_is_no_success_any_more_leaves_the_training_data(tmp_path, limits) -> None:
    run, data = tmp_path / "run", tmp_path / "data"
    folder = recorded(run, Intervened(limits, SOURCES))
    rules = ROOT / "launch" / "config" / "limits_fr3.yaml"
    named = {"limits": str(rules), "rate_hz": "20"}
    verdict = json.loads((folder / VERDICT_NAME).read_text())
    (folder / VERDICT_NAME).write_text(json.dumps(verdict | {"parameters": named}))
    assert [row.result for row in convert_folder(run, data, rules)] == ["converted"]
    (learned,) = read_episodes(data)
    assert learned.rate_hz == 20.0
    start = verdict | {"parameters": named, "seed": 1_000_000_007}
    (folder / VERDICT_NAME).write_text(json.dumps(start))
    assert [row.result for row in convert_folder(run, data, rules)] == ["kept aside"]
    words = ["convert", str(run), "--output", str(data)]
    assert CliRunner().invoke(app, words).exit_code == 0, "nothing is wrong with it"
    assert list(data.iterdir()) == []
    append_label(folder, Label("failure", "operator", 1))
    assert [row.result for row in convert_folder(run, data, rules)] == ["failure"]
    assert list(data.iterdir()) == []


def named(folder: Path, **parameters: str) -> Path:
    """The episode as of a run that names its parameters."""
    verdict = json.loads((folder / VERDICT_NAME).read_text())
    (folder / VERDICT_NAME).write_text(json.dumps(verdict | {"parameters": parameters}))
    return folder


def test_another_runs_episode_of_the_same_name_is_not_written_over(tmp_path, limits) -> None:
    data, rules = tmp_path / "data", ROOT / "launch" / "config" / "limits_fr3.yaml"
    mine, other = tmp_path / "mine", tmp_path / "other"
    told = {"limits": str(rules), "rate_hz": "20"}
    named(recorded(mine, Intervened(limits, SOURCES)), **told)
    folder = named(recorded(other, Intervened(limits, SOURCES[:-1])), **told)
    assert [row.result for row in convert_folder(mine, data, rules)] == ["converted"]
    (row,) = convert_folder(other, data, rules)
    assert (row.result, "another run's episode" in row.problem) == ("refused", True)
    append_label(folder, Label("failure", "operator", 1))
    assert [row.result for row in convert_folder(other, data, rules)] == ["refused"]
    assert len(read_episodes(data)[0]) == 11
    assert [row.result for row in convert_folder(mine, data, rules)] == ["converted"]
    (data / "episode-e0.safetensors").write_bytes(b"half")
    assert [row.result for row in convert_folder(mine, data, rules)] == ["converted"]


def test_a_recovered_episode_replaces_what_was_made_of_it_before(tmp_path, limits) -> None:
    data, rules = tmp_path / "data", ROOT / "launch" / "config" / "limits_fr3.yaml"
    told = {"limits": str(rules), "rate_hz": "20"}
    folder = named(recorded(tmp_path, Intervened(limits, SOURCES)), **told)
    assert [row.result for row in convert_folder(folder, data, rules)] == ["converted"]
    content = bytearray(bag_path(folder).read_bytes())
    with bag_path(folder).open("rb") as stream:
        chunk = make_reader(stream).get_summary().chunk_indexes[-1]
    content[chunk.chunk_start_offset + chunk.chunk_length // 2] ^= 0xFF
    bag_path(folder).write_bytes(content)
    assert recover_episode(folder).result is RecoverResult.LOSSY
    append_label(folder, Label("failure", "operator", 1))
    assert [row.result for row in convert_folder(folder, data, rules)] == ["failure"]
    assert not list(data.glob("*.safetensors"))


def test_an_episode_that_cannot_be_read_does_not_keep_the_others_from_training(
    tmp_path, limits
) -> None:
    run = tmp_path / "run"
    folder = recorded(run, Intervened(limits, SOURCES))
    broken = folder.with_name("e1")
    broken.mkdir()
    part_path(broken).touch()
    rows = convert_folder(run, tmp_path / "data", ROOT / "launch" / "config" / "limits_fr3.yaml")
    assert [row.name for row in rows] == ["e0", "e1"]
    assert (rows[1].result, "never closed" in rows[1].problem) == ("unreadable", True)


def test_a_label_given_later_wins_and_a_discarded_episode_is_no_success(tmp_path, limits) -> None:
    folder = recorded(tmp_path, Intervened(limits, SOURCES))
    append_label(folder, Label("unlabelled", "operator", 1))
    assert not convert(folder, limits, SPEC).episode.success


def test_a_command_that_does_not_follow_from_its_choice_is_refused(tmp_path, limits) -> None:
    stream = Intervened(limits, SOURCES)
    stream.tampered = {FIRST + 7}
    with pytest.raises(ContractError, match="0 choices and 1 commands of 14 do not follow"):
        convert(recorded(tmp_path, stream), limits, SPEC)


def test_a_policy_that_goes_on_beside_a_recorded_human_is_refused(tmp_path, limits) -> None:
    class Deaf(Intervened):
        def _let_through(self, arm, source, common):
            yield from super()._let_through(arm, B if source is H else source, common)

    folder = recorded(tmp_path, Deaf(limits, SOURCES))
    found = parity.check(read_episode(folder), limits, SPEC)
    assert found.late_humans == (105, 106, 107, 108, 112, 113)
    assert found.different_choices == (106, 107, 108, 113)
    with pytest.raises(ContractError):
        convert(folder, limits, SPEC)


def test_an_episode_in_which_nobody_moved_is_refused(tmp_path, limits) -> None:
    with pytest.raises(ContractError, match="no step"):
        convert(recorded(tmp_path, Intervened(limits, [O] * 4)), limits, SPEC)
