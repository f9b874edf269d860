"""A person takes over the running graph on the twin, lets go, is lost, and says how it ended."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from domain_coordinator import domain_id

from pld import parity
from pld.contract import ActionSpec
from pld.conversion import convert
from pld.recording.reader import Episode, read_episode
from pld.run_folder import episode_folders
from pld.safety.limits import load_limits
from pld.teleop.shaping import ShapingConfig
from pld.types import ActionSource, Choice, ControlMode
from pld_nodes.ros import environment

environment.prepare()

from tests.nodes.teleop_rig import (  # noqa: E402
    ROOT,
    Operator,
    is_ready,
    run_drill,
    start_device,
    takeovers,
)

LIMITS = load_limits(ROOT / "launch" / "config" / "limits_fr3.yaml")
PERIOD_MS = 50.0
COMMAND_MS = 5.0
"""Of robot time that the twin grants from a state to its command. It waits for nobody's hand: on a
busy machine the way from the device to the graph may cost a press its step, and never two."""
TRIALS = 12
RISE_PER_S = ShapingConfig().rise_per_s


@pytest.fixture(autouse=True)
def own_domain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    with domain_id() as domain:
        monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
        monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path / "log"))
        yield


def only_episode(folder: Path) -> Episode:
    return read_episode(episode_folders(folder / "r")[0])


@pytest.mark.timeout(600)
def test_a_human_takes_over_at_the_next_step_and_the_policy_comes_back_gently(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(5)

    def drill(operator: Operator) -> None:
        for _ in range(TRIALS):
            operator.press(*rng.uniform(-1, 1, 3))
            operator.wait(0.3)
            operator.release()
            operator.wait(1.6 + float(rng.uniform(0.0, 0.05)))

    operator = run_drill(tmp_path, "127.0.0.81", drill, after_release="policy")
    episode = only_episode(tmp_path)
    found = takeovers(episode, operator.presses_ns)
    assert len(found) == TRIALS
    latency_ms = [t.latency_ms for t in found]
    assert float(np.median(latency_ms)) <= PERIOD_MS
    assert max(latency_ms) <= 2 * PERIOD_MS + COMMAND_MS
    assert max(t.policy_steps for t in found) <= 1
    checked = parity.check(episode, LIMITS, ActionSpec())
    assert checked.holds, checked
    _assert_resumed_gently(episode)
    _assert_human_data(episode)


def _assert_resumed_gently(episode: Episode) -> None:
    """No motion after a takeover or a release is larger than what the ramps allow."""
    choices = sorted((c.value for c in episode.choices), key=lambda c: c.step)
    bases = {b.value.step: b.value.action for b in episode.base_actions}
    resumed = 0
    acted = ActionSource.BASE
    for before, now in pairwise(choices):
        if now.source is ActionSource.HUMAN and before.source is not ActionSource.HUMAN:
            _assert_taken_from_rest(episode, now)
        if now.source is ActionSource.BASE and acted is ActionSource.HUMAN:
            resumed += 1
            largest = np.abs(bases[now.step][:6]).max() / 11
            assert np.abs(now.action[:6]).max() <= largest + 1e-12
        acted = acted if now.source is ActionSource.HOLD else now.source
    assert resumed >= TRIALS - 1


def _assert_taken_from_rest(episode: Episode, first: Choice) -> None:
    """The hand's own motion began at rest when the deadman went down.

    That answer corrects one to a step that may have been chosen already; then the first that is
    executed has grown meanwhile, by no more than the ramp allows.
    """
    said = sorted((h.value for h in episode.human_actions), key=lambda h: h.step)
    edge = max(i for i, h in enumerate(said) if h.deadman and h.step <= first.step)
    while said[edge - 1].deadman:
        edge -= 1
    pressed = said[edge]
    np.testing.assert_array_equal(pressed.action[:6], np.zeros(6))
    began_ns = {a.value.step: a.t_ns for a in episode.arm_states}
    grown = RISE_PER_S * (began_ns[first.step] - began_ns[pressed.step]) / 1e9
    assert np.abs(first.action[:6]).max() <= grown + 1e-9


def _assert_human_data(episode: Episode) -> None:
    sources = [c.value.source for c in episode.choices]
    humans = sources.count(ActionSource.HUMAN)
    assert humans >= 5 * TRIALS
    assert episode.verdict.steps.interventions == humans
    assert episode.verdict.lost == 0
    began_ns = {a.value.step: a.t_ns for a in episode.arm_states}
    early = [h.value.step for h in episode.human_actions if h.t_ns != began_ns[h.value.step]]
    assert not early, "an answer to a step that has not begun may be dropped"
    converted = convert(episode.folder, LIMITS, ActionSpec()).episode
    assert int((converted.source == ActionSource.HUMAN).sum()) == humans
    executed = {c.value.step: c.value.executed_action for c in episode.commands}
    steps = [c.value.step for c in episode.choices if c.value.source is ActionSource.HUMAN]
    np.testing.assert_array_equal(
        converted.executed[converted.source == ActionSource.HUMAN],
        np.clip([executed[s] for s in sorted(steps)], -1, 1).astype(np.float32),
    )


def holds_for(operator: Operator, robot_s: float) -> bool:
    """Whether no policy moves the arm during `robot_s`."""
    first = len(operator.watcher.states)
    operator.wait(robot_s)
    modes = {s.control_mode for s in operator.watcher.states[first:]}
    return modes == {ControlMode.HOLDING}


@pytest.mark.timeout(600)
def test_in_doubt_the_arm_holds_and_the_operators_words_are_carried_out(tmp_path: Path) -> None:
    seen: dict[str, object] = {}

    def drill(operator: Operator) -> None:
        _let_go(operator, seen)
        _pause(operator, seen)
        _lose_the_device(operator, seen)
        _come_back_and_label(operator, seen)

    run_drill(tmp_path, "127.0.0.82", drill, after_release="hold")
    lost_ms = seen.pop("from the loss to holding [ms]")
    assert isinstance(lost_ms, float)
    assert lost_ms <= 100.0
    assert [name for name, fine in seen.items() if fine is not True] == []
    assert len(seen) == 14
    verdict = only_episode(tmp_path).verdict
    assert (verdict.outcome, verdict.termination_reason) == ("success", "operator_success")


def _let_go(operator: Operator, seen: dict[str, object]) -> None:
    start_m = operator.watcher.states[-1].O_T_EE.p_m[2]
    operator.press(0.0, 0.0, 1.0)
    operator.wait(0.6)
    operator.release()
    operator.wait(0.2)
    seen["the human moved the arm up"] = bool(
        operator.watcher.states[-1].O_T_EE.p_m[2] > start_m + 0.02
    )
    seen["a release holds"] = holds_for(operator, 2.0)
    operator.say(keys=["resume"])
    operator.until(operator.is_moving)
    seen["the policy goes on at the operator's word"] = True


def _pause(operator: Operator, seen: dict[str, object]) -> None:
    operator.say(keys=["pause"])
    operator.wait(0.2)
    seen["a pause holds"] = holds_for(operator, 1.0)
    operator.press(0.0, 0.0, 1.0)
    operator.wait(0.3)
    seen["a human moves a paused arm"] = (
        operator.watcher.states[-1].control_mode is ControlMode.TRACKING
    )
    operator.release()
    operator.wait(0.2)
    seen["and leaves it paused"] = holds_for(operator, 1.0)
    operator.say(keys=["resume"])
    operator.until(operator.is_moving)


def _lose_the_device(operator: Operator, seen: dict[str, object]) -> None:
    operator.press(1.0, 0.0, 0.0)
    operator.wait(0.4)
    lost_ns = operator.link.t_ns
    os.kill(operator.device.pid, signal.SIGKILL)
    operator.wait(0.4)
    held = [s.held_ns for s in operator.watcher.states if s.held_ns > lost_ns]
    seen["from the loss to holding [ms]"] = (min(held) - lost_ns) / 1e6 if held else np.inf
    seen["a lost operator is followed by nobody"] = holds_for(operator, 2.0)
    seen["a service resumes"] = operator.watcher.call("arbitrator_node/resume").success
    operator.until(operator.is_moving)
    refused = operator.watcher.call("arbitrator_node/resume")
    seen["a needless one is refused with the reason"] = (
        not refused.success and "already" in refused.message
    )


def _come_back_and_label(operator: Operator, seen: dict[str, object]) -> None:
    """With the keyboard of a terminal this time."""
    log, (ours, theirs) = operator.folder / "again.log", pty.openpty()
    operator.device = start_device(log, "keyboard", stdin=theirs)
    try:
        operator.until(lambda: is_ready(log))
        seen["a second teleop_node refuses to start"] = _second_is_refused(operator)
        seen["a key held with Shift moves the arm"] = _type_upwards(operator, ours)
        seen["and released it holds"] = holds_for(operator, 0.5)
        os.write(ours, b" ")
        operator.until(lambda: "operator_stop" in operator.watcher.latched)
        seen["stop latches in the safety node"] = holds_for(operator, 0.5)
        cleared = operator.watcher.call("safety_node/clear").success
        seen["after it the arbitrator is paused"] = cleared and holds_for(operator, 1.0)
        os.write(ours, b"1")
        operator.until(lambda: not operator.watcher.running)
    finally:
        operator.device.kill()
        operator.device.wait()
        os.close(ours)
        os.close(theirs)


def _type_upwards(operator: Operator, terminal: int) -> bool:
    """Hold Shift R as a repeating keyboard does; whether the arm rose, and not by a policy."""
    start_m = operator.watcher.states[-1].O_T_EE.p_m[2]
    end_ns = operator.link.t_ns + 800_000_000
    while operator.link.t_ns < end_ns:
        os.write(terminal, b"R")
        time.sleep(0.03)
    operator.wait(1.2)
    return bool(operator.watcher.states[-1].O_T_EE.p_m[2] > start_m + 0.02)


def _second_is_refused(operator: Operator) -> bool:
    log = operator.folder / "second.log"
    second = start_device(log)
    try:
        operator.until(lambda: second.poll() is not None or is_ready(log))
    finally:
        second.kill()
        second.wait()
    return second.returncode == 2 and "one operator at a time" in log.read_text()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["joystick"], "unknown teleoperation device 'joystick'; valid: keyboard, gamepad"),
        (["keyboard"], "standard input is no terminal; start `pld teleop keyboard` by hand"),
        (["scripted", "--speed", "2"], "speed: 2.0 is outside (0, 1]"),
        (["scripted", "--after-release", "go"], "unknown after_release 'go'; valid: hold, policy"),
    ],
)
def test_a_device_that_cannot_be_used_is_one_line_with_the_remedy(
    arguments: list[str], named: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pld_nodes.cli", "teleop", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert named in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_script_that_ends_ends_the_node_with_the_reason(tmp_path: Path) -> None:
    log = tmp_path / "teleop.log"
    device = start_device(log)
    assert device.stdin is not None
    device.stdin.close()
    deadline = time.monotonic() + 60.0
    while device.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert device.returncode == 1
    assert "the script has ended" in log.read_text()
