"""The arbitrator: chooses whose action is executed and leads the run from episode to episode."""

from __future__ import annotations

from dataclasses import replace

from diagnostic_msgs.msg import DiagnosticStatus
from pld_interfaces.msg import (
    ArmState,
    BaseAction,
    PolicyWeights,
    RecorderStatus,
    ResidualAction,
    Reward,
    SafetyStatus,
)
from rclpy.duration import Duration
from std_srvs.srv import Trigger

from pld.errors import ConfigError
from pld.probing.answers import Answers
from pld.probing.arbitrator import NEVER, Offers, choose
from pld.probing.episode import Episode, Want, begin, end, gave_up, on_done, on_reward, on_step
from pld.probing.halts import Halts
from pld.probing.horizon import latest_takeover
from pld.probing.resumption import Resumption
from pld.safety.failsafe import is_stopped, is_withheld, reset_withheld_by
from pld.safety.watchdog import StepGuard
from pld.types import ControlMode, EpisodeState, Outcome
from pld_nodes.errands import PREPARING, Errands, Replies
from pld_nodes.graph import MODES
from pld_nodes.override import Desk, Override
from pld_nodes.plan import ArbitratorConfig, make_plan
from pld_nodes.ros import messages
from pld_nodes.ros.node import EXIT_FAILED, GraphNode, run_node
from pld_nodes.state_watch import fail_without_states

LAST_WORD_S = 0.2


class ArbitratorNode(GraphNode):
    """Feeds events to the pure episode machine and does what it wants done."""

    def __init__(self) -> None:
        super().__init__("arbitrator_node")
        self._config = config = self.config(ArbitratorConfig)
        if config.mode not in MODES:
            raise ConfigError.unknown("mode", config.mode, MODES)
        self._episode = Episode(make_plan(config))
        self._guard = StepGuard()
        self._answers = Answers()
        self._arm: ArmState | None = None
        self._resumption = Resumption.of(config.rate_hz)
        desk = Desk(
            lambda: self._guard.newest_step,
            self._runs,
            self._is_running,
            self._answer,
            self._answer_if_complete,
            self._end,
            self._describe,
            lambda: self._latched,
        )
        self._override = Override(self, config.rate_hz, desk)
        replies = Replies(self._done, self._fail)
        self._errands = Errands(self, config.task, config.scene, replies)
        self._publish_choice = self.publisher("arbitrator/choice").publish
        self._told = self.publisher("episode")
        self.subscribe("arm/state", self._on_state)
        self.subscribe("base/action", self._on_base_action)
        self.subscribe("residual/action", self._on_residual_action)
        self.subscribe("teleop/action", self._override.on_human)
        self.subscribe("task/reward", self._on_reward)
        self.subscribe("recorder/status", self._on_recorder)
        self.subscribe("safety/status", self._on_safety)
        self.subscribe("learner/weights", self._on_weights)
        self._latest_takeover, self._limit_steps = config.latest_takeover, 0
        self._may_begin = config.mode != "learn"  # then not before the learner said what it wants
        self._recorded, self._withheld = "", False
        self._latched: tuple[str, ...] = ()
        self.create_service(Trigger, "~/scene_ready", self._on_scene_ready)
        self.create_service(Trigger, "~/abort", self._on_abort)
        fail_without_states(self, lambda: self._guard.newest_step, self._fail)

    def _on_state(self, msg: ArmState) -> None:
        answered = not self._guard.missed_previous()
        halts = self._halts(msg)
        self._arm = msg
        self._guard = self._guard.on_state(msg.step)
        if self._episode.index < 0 and self._may_begin:
            self._advance(begin(self._planned(self._episode), self._t_ns))
        self._run_if_recorded()
        self._advance(on_step(self._episode, self._t_ns, msg.step, halts, answered=answered))
        withheld = bool(reset_withheld_by(self._latched))
        self._errands.pursue(self._episode.want, halts.mode, self._episode.seed, withheld=withheld)
        if self._episode.want is Want.FINISH:
            if self._episode.failed:
                self.get_logger().fatal(gave_up(self._episode, self._latched))
            self.finish(EXIT_FAILED if self._episode.failed else 0)
        self._answers = self._answers.on_state(msg.step)
        if not self._is_running():
            self._override.rest()
            self._resumption = Resumption.of(self._config.rate_hz)
            self._answer(Offers())
        elif self._override.on_state(msg.step):
            self._answer_if_complete()
        if msg.step % round(self._config.rate_hz) == 0:
            self._publish_status()
            self._report()

    def _on_base_action(self, msg: BaseAction) -> None:
        action = messages.base_action_from_msg(msg).action
        self._answers = self._answers.on_answer(int(msg.step), base=action)
        self._answer_if_complete()

    def _on_residual_action(self, msg: ResidualAction) -> None:
        residual = messages.residual_action_from_msg(msg).action
        self._answers = self._answers.on_answer(int(msg.step), residual=residual)
        self._answer_if_complete()

    def _answer_if_complete(self) -> None:
        """Choose once everybody whose action matters at this step has answered."""
        episode = self._episode
        if not self._is_running() or not self._guard.missed_previous():
            return
        if not self._override.policy_may_act:
            return
        step = self._guard.newest_step - episode.first_step
        offers = self._answers.complete(step, episode.takeover_step)
        if offers is not None and not self._override.is_awaited():
            self._answer(offers)

    def _answer(self, offers: Offers) -> None:
        """Choose for the newest step and publish the choice, once."""
        step = self._guard.newest_step
        self._guard, usable = self._guard.on_answer(step)
        if not usable:
            return
        episode = self._episode
        choice = choose(step, step - episode.first_step, episode.takeover_step, offers)
        choice = self._resumption.soften(choice)
        self._resumption = self._resumption.after(choice)
        self._publish_choice(messages.choice_to_msg(choice, self._t_ns, episode.episode_id))

    def _halts(self, arm: ArmState) -> Halts:
        """What held the arm until `arm` was told."""
        return Halts(
            ControlMode(arm.control_mode),
            arm.errors,
            paused=self._is_paused,
            latched=bool(self._latched),
            withheld=self._withheld and self._override.policy_may_act,
            by_hand=not self._override.policy_may_act,
        )

    @property
    def _is_paused(self) -> bool:
        """Whether the arm holds for the operator's sake, or is stopped."""
        return self._override.is_holding or is_stopped(self._latched)

    def _on_reward(self, msg: Reward) -> None:
        """A word on the episode; not on what is done by hand while the arm waits."""
        if self._is_paused and not self._override.has_acted:
            return
        self._advance(on_reward(self._episode, self._t_ns, int(msg.step), success=msg.success))

    def _on_recorder(self, msg: RecorderStatus) -> None:
        if msg.episode_id != self._episode.episode_id:
            return
        if msg.state == RecorderStatus.FAILED:
            self.get_logger().error(f"recording failed: {msg.error}")
            self._advance(end(self._episode, self._t_ns, Outcome.UNLABELLED, "recording_failed"))
            self._publish_status()
            self.finish(EXIT_FAILED)
        elif msg.state == RecorderStatus.RECORDING:
            self._recorded = msg.episode_id
            self._run_if_recorded()
        elif msg.state == RecorderStatus.CLOSED:
            self._done(Want.CLOSE_RECORD)

    def _run_if_recorded(self) -> None:
        """An episode that is being recorded begins, unless safety holds the arm."""
        held = bool(self._latched) or self._withheld
        if self._recorded == self._episode.episode_id and not held:
            self._done(Want.RECORD)

    def _on_safety(self, msg: SafetyStatus) -> None:
        self._latched, self._withheld = tuple(msg.latched), is_withheld(msg.active)

    def _on_weights(self, msg: PolicyWeights) -> None:
        """A learner's weights say what holds from the next episode on.

        The takeover is drawn within alpha T, and the episode lasts no longer than is learned from.
        """
        if self._config.mode != "learn":
            return
        self._may_begin = True
        self._limit_steps = int(msg.limit_steps)
        horizon = int(msg.horizon_steps)
        self._latest_takeover = latest_takeover(self._config.alpha, horizon) if horizon else NEVER

    def _on_scene_ready(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self._episode.want is Want.RESET_SCENE
        response.message = (
            "going on" if response.success else f"not waiting for the scene: {self._describe()}"
        )
        self._done(Want.RESET_SCENE)
        return response

    def _on_abort(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self._end(Outcome.UNLABELLED, "operator_abort")
        response.message = f"episode {self._describe()}"
        return response

    def _end(self, outcome: Outcome, reason: str) -> bool:
        """End the running episode on the operator's word; False when none runs."""
        running = self._runs()
        if running:
            self._advance(end(self._episode, self._t_ns, outcome, reason))
        return running

    def _done(self, want: Want) -> None:
        ends = want is Want.CLOSE_RECORD
        episode = self._planned(self._episode) if ends else self._episode
        self._advance(on_done(episode, want, self._t_ns, self._guard.newest_step))

    def _planned(self, episode: Episode) -> Episode:
        """`episode` with a plan of what holds from the next one on."""
        told = {"latest_takeover": self._latest_takeover, "limit_steps": self._limit_steps}
        return replace(episode, plan=replace(episode.plan, **told))

    def _advance(self, episode: Episode) -> None:
        """Take the machine's next state; publish when the episode's state changed."""
        before, self._episode = self._episode, episode
        if (before.state, before.want, before.index) != (
            episode.state,
            episode.want,
            episode.index,
        ):
            self.get_logger().info(f"episode {self._describe()}")
            self._publish_status()
        if before.state is EpisodeState.RUNNING and not self._runs():
            self._answer(Offers())

    def _fail(self, reason: str) -> None:
        self.get_logger().error(reason)
        self.finish(EXIT_FAILED)

    def _runs(self) -> bool:
        return self._episode.state is EpisodeState.RUNNING

    def _is_running(self) -> bool:
        begun = self._guard.newest_step >= self._episode.first_step
        return self._runs() and begun and not self._episode.is_over

    def _describe(self) -> str:
        episode = self._episode
        reason = f" ({episode.termination_reason})" if episode.termination_reason else ""
        state, want = episode.state.name.lower(), episode.want.value
        return f"{episode.episode_id}: {state}, wants {want}{reason}"

    @property
    def _t_ns(self) -> int:
        return 0 if self._arm is None else messages.nanoseconds(self._arm.header.stamp)

    def _publish_status(self) -> None:
        """Tell the episode, except while the arm and the scene are still being laid."""
        episode = self._episode
        if episode.want in PREPARING or episode.index < 0:
            return
        facts = {"task": self._config.task, "mode": self._config.mode}
        self._told.publish(
            messages.episode_to_msg(episode, self._t_ns, region=self._errands.region, **facts)
        )

    def shutdown(self) -> None:
        """Let everybody hear why the last episode ended."""
        self._told.wait_for_all_acked(Duration(seconds=LAST_WORD_S))

    def _report(self) -> None:
        starving = self._episode.starved > 0
        self.diagnose(
            self._t_ns,
            DiagnosticStatus.WARN if starving else DiagnosticStatus.OK,
            "starved of base actions" if starving else self._describe(),
            starved_steps=self._episode.starved_total,
            refused_answers=self._answers.refused,
            **self._override.diagnostics(),
        )


def main() -> None:
    """Entry point of the node."""
    run_node(ArbitratorNode)


if __name__ == "__main__":
    main()
