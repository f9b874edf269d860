"""Bags as a learner's experience: decisions as they were made, and nothing that no policy did."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pld import experience as module
from pld.base_policy.builtin import BuiltinPolicy
from pld.base_policy.builtin_checkpoint import save_checkpoint
from pld.errors import ContractError
from pld.experience import LearnerView, _decided, experience
from pld.recording.labels import Label, append_label
from pld.recording.reader import Episode, Stamped, read_episode
from pld.recording.translate import ResidualCorrection
from pld.residual.actor import ActorCard, ResidualActor
from pld.residual.held import HeldResidual
from pld.safety.limits import load_limits
from pld.types import ActionSource
from tests.pld.test_conversion import FIRST, ROOT, B, H, Intervened, recorded
from tests.pld.vla_fixtures import dataset, network

TAKEOVER, DECISION_STEPS, GAMMA = 2, 3, 0.9
TASK = "cube_pickup"
NOTHING = np.zeros(7)


@pytest.fixture(scope="module")
def view(tmp_path_factory) -> LearnerView:
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("base") / "base.safetensors"
    save_checkpoint(path, network(dataset()), (TASK,), ("pick up the cube",), 20.0)
    return LearnerView(BuiltinPolicy.load(path, TASK), DECISION_STEPS, GAMMA)


@pytest.fixture
def told(tmp_path, view, monkeypatch) -> Callable[..., Path]:
    """A folder whose bag says so: who acted, who took over, how it ended."""

    def make(sources: list[ActionSource], *, takeover: int = -1, reason: str = "horizon") -> Path:
        stream = Intervened(load_limits(ROOT / "launch" / "config" / "limits_fr3.yaml"), sources)
        folder = recorded(tmp_path, stream)
        made = _of_policies(read_episode(folder), view, takeover, reason)
        monkeypatch.setattr("pld.experience.read_episode", lambda _: made)
        return folder

    return make


def _of_policies(episode: Episode, view: LearnerView, takeover: int, reason: str) -> Episode:
    """`episode` of the view's base, and from `takeover` on with a specialist's residuals."""
    bases = [
        replace(b, value=replace(b.value, policy_id=view.base.policy_id))
        for b in episode.base_actions
    ]
    *before, last = episode.updates
    ended = replace(last.value, takeover_step=takeover, termination_reason=reason)
    residuals = [
        Stamped(b.t_ns, b.log_time_ns, ResidualCorrection(b.value.step, NOTHING, NOTHING, "s"))
        for b in bases
        if takeover >= 0 and b.value.step >= FIRST + takeover
    ]
    return replace(
        episode,
        base_actions=tuple(bases),
        updates=(*before, replace(last, value=ended)),
        residual_actions=tuple(residuals),
    )


def test_a_success_of_the_base_is_learned_whole(told, view) -> None:
    made = experience(told([B] * 9), view)
    assert (made.success, made.helped, made.with_specialist) == (True, False, False)
    assert made.rewards.tolist() == [0.0, 0.0, 1.0]
    assert made.terminated.tolist() == [0.0, 0.0, 1.0]


def test_what_nobody_judged_is_not_learned_from(told, view) -> None:
    folder = told([B] * 9, reason="robot_fault")
    append_label(folder, Label("unlabelled", "operator", 1))
    with pytest.raises(ContractError, match="e0 is unlabelled"):
        experience(folder, view)


def test_an_episode_whose_end_could_not_be_recovered_is_not_learned_from(
    told, view, monkeypatch
) -> None:
    folder = told([B] * 9)
    whole = module.read_episode(folder)
    cut = replace(whole, updates=whole.updates[:-1])
    monkeypatch.setattr("pld.experience.read_episode", lambda _: cut)
    with pytest.raises(ContractError, match="e0 was recovered without its end"):
        experience(folder, view)


def test_a_base_that_a_person_helped_has_not_succeeded(told, view) -> None:
    with pytest.raises(ContractError, match="e0 is of the base, and a person acted in it"):
        experience(told([B] * 4 + [H] * 5), view)


def test_an_episode_is_cut_where_a_person_takes_over(told, view) -> None:
    made = experience(told([B] * 10 + [H] * 8, takeover=TAKEOVER), view)
    assert (made.helped, made.success) == (True, False)
    assert made.terminated.sum() == made.rewards.sum() == 0
    assert len(made) == 2, "decisions at 2, 5 and 8; what followed from the last is the person's"
    assert made.steps == 4


@pytest.mark.parametrize("takeover", [TAKEOVER, -1], ids=["specialist", "base"])
def test_a_persons_success_is_nobody_elses_where_the_base_was_silent(
    told, view, monkeypatch, takeover: int
) -> None:
    folder = told([B] * 10 + [H] * 8, takeover=takeover)
    whole = module.read_episode(folder)
    answered = [b for b in whole.base_actions if b.value.step < FIRST + 10]
    silent = replace(whole, base_actions=tuple(answered))
    monkeypatch.setattr("pld.experience.read_episode", lambda _: silent)
    if takeover < 0:
        with pytest.raises(ContractError, match="of the base, and a person acted in it"):
            experience(folder, view)
        return
    made = experience(folder, view)
    assert (made.helped, made.success, made.rewards.sum()) == (True, False, 0)


def test_a_fault_after_a_person_took_over_is_not_the_specialists(told, view) -> None:
    folder = told([B] * 10 + [H] * 3, takeover=TAKEOVER, reason="robot_fault")
    append_label(folder, Label("failure", "operator", 1))
    assert experience(folder, view).terminated.sum() == 0


class _Counting(ResidualActor):
    """An actor that says at how many decisions it was asked."""

    def __init__(self) -> None:
        self.card = ActorCard(TASK, 1, 1, (1,), decision_steps=DECISION_STEPS)
        self.asked = 0

    def act(self, features, base_action, rng=None):
        self.asked += 1
        return np.zeros(1)


@given(st.sets(st.integers(0, 60), min_size=1))
def test_decisions_are_where_the_specialist_at_work_makes_them(asked: Collection[int]) -> None:
    actor = _Counting()
    specialist, decided = HeldResidual(actor), set()
    for step in sorted(asked):
        before = actor.asked
        specialist.residual(step, lambda: np.zeros(1), np.zeros(1))
        if actor.asked > before:
            decided.add(step)
    assert _decided(sorted(asked), DECISION_STEPS) == decided


def test_a_held_step_does_not_move_the_decisions_after_it(told, view, monkeypatch) -> None:
    folder = told([B] * 14, takeover=TAKEOVER)
    whole = experience(folder, view)
    made = module.read_episode(folder)
    held = replace(made, choices=tuple(c for c in made.choices if c.value.step != FIRST + 5))
    monkeypatch.setattr(module, "read_episode", lambda _: held)
    assert len(whole) == 4, "decisions at 2, 5, 8 and 11"
    kept = np.delete(whole.observations, 1, axis=0)
    np.testing.assert_array_equal(experience(folder, view).observations, kept)
