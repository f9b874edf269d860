"""One run of the graph in which `pld bench safety` injects faults, and what each came to.

Time to hold is robot time from the injection to the moment at which the driver says that it began
to hold; where nobody is left to say so, to standing still; where a person takes over, to the first
command that was executed for the person. Travel comes from the simulator's own
truth. A trial begins while the arm moves at more than 5 cm/s, under commands or on its way home.
"""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pld.errors import PldError
from pld.run_folder import verdicts
from pld.safety.limits import SafetyLimits
from pld.twin.control import SOCKET_NAME, ControlClient
from pld.twin.link import LINK_NAME, TwinLink
from pld_nodes.bench.false_stops import driver_holds, is_stop, standing, stops
from pld_nodes.bench.fault_acts import Field
from pld_nodes.bench.fault_sign import Sign
from pld_nodes.bench.fault_watcher import FaultWatcher
from pld_nodes.bench.graph_bench import Say
from pld_nodes.bench.lingering import LingeringSupervisor
from pld_nodes.bench.safety_faults import Fault
from pld_nodes.bench.truth_path import BEFORE_NS, TruthPath, still_ns, travel_mm
from pld_nodes.graph import Deployment
from pld_nodes.parameters import parse_arguments
from pld_nodes.run import PreparedRun, prepare
from pld_nodes.supervisor import RunFailedError, Supervisor

MOVING_S, RECOVERY_S, SIGN_S = 240.0, 60.0, 8.0
PER_RUN, VOID_TRIALS = 40, 10
NORMAL = "none: normal running"
COMPLAINTS = ("error:", "fatal", "traceback")


@dataclass
class Trial:
    """What one injection came to; times are robot time, NaN where there was no hold.

    `moved_on` counts the commands to move that were executed after the hold had begun,
    `stop_causes` says what each of the false stops was.
    """

    fault: str
    detected: bool
    to_hold_ms: float
    travel_mm: float
    quiet_s: float
    false_stops: int
    moved_on: int = 0
    stop_causes: tuple[str, ...] = ()


@dataclass
class Session:
    """One run of the graph, in which faults of `queue` are injected until it is empty or over."""

    queue: list[Fault]
    limits: SafetyLimits
    rng: random.Random
    say: Say
    trials: list[Trial] = field(default_factory=list)
    last_kill: tuple[Fault, Trial] | None = None
    calm_causes: tuple[str, ...] = ()
    over: bool = False
    interrupted: bool = False

    def run(self, launch: Sequence[str]) -> None:
        """Start the graph, let the script play beside it, and wind everything up.

        The watcher goes on until this process ends (see ArmWatcher).
        """
        with tempfile.TemporaryDirectory(prefix="pld-bench-") as folder:
            arguments = ["policy:=sweep", "episodes:=1000", "horizon_s:=120"]
            arguments += [f"output_dir:={folder}", *launch]
            parameters = parse_arguments(Deployment.SIM, arguments)
            watcher = FaultWatcher(parameters.namespace)
            watcher.listen()
            run = prepare(parameters, Deployment.SIM)
            supervisor = run.supervisor(self._pass_on, LingeringSupervisor)
            script = threading.Thread(target=self._play, args=(watcher, run, supervisor))
            script.start()
            try:
                supervisor.run()
                self.interrupted = script.is_alive()
            except RunFailedError as error:
                self.say("bench", str(error).split(";", maxsplit=1)[0])
            finally:
                self.over = True
                script.join(30.0)
                run.finish()
            self._conclude_kill(run, watcher)
        if self.trials:
            self.trials[-1].false_stops += len(self.calm_causes)
            self.trials[-1].stop_causes += self.calm_causes

    def _pass_on(self, name: str, line: str) -> None:
        """Only what the nodes complain of."""
        if any(word in line.lower() for word in COMPLAINTS):
            self.say(name, line)

    def _conclude_kill(self, run: PreparedRun, watcher: FaultWatcher) -> None:
        """A death must be told by the episode's verdict; without a disk, the topic must do."""
        if self.last_kill is None:
            return
        fault, trial = self.last_kill
        if fault.ends_with:
            trial.detected = watcher.ended_for == fault.ends_with
            return
        reasons = [verdict.termination_reason for verdict in verdicts(run.run_dir)]
        trial.detected = bool(reasons) and reasons[-1] == f"node_lost:{fault.kills}"

    def _play(self, watcher: FaultWatcher, run: PreparedRun, supervisor: Supervisor) -> None:
        try:
            assert run.twin_dir is not None
            socket = run.twin_dir / SOCKET_NAME
            if not self._until(socket.exists, MOVING_S):
                return
            twin = ControlClient(socket)
            with TruthPath(TwinLink(run.twin_dir / LINK_NAME)) as truth:
                self._inject_all(Field(watcher, supervisor, truth, twin))
        except (PldError, StopIteration, OSError) as error:
            self.say("bench", f"session ends: {error}")
        finally:
            if self.last_kill is None:
                supervisor.stop_requested = True

    def _inject_all(self, field_: Field) -> None:
        void = 0
        while self.queue and self._until(lambda: self._moves(field_), MOVING_S):
            fault = self.queue[0]
            normal = fault.name == NORMAL
            trial = self._watch(field_, fault) if normal else self._attempt(field_, fault)
            if trial is None:
                self.say("bench", f"{fault.name}: the arm held already; once more")
                self._recovered(field_)
                void += 1
                if void == VOID_TRIALS:
                    self.say("bench", f"{fault.name}: {void} times in a row; a new run")
                    return
                continue
            void = 0
            del self.queue[0]
            self.trials.append(trial)
            came_to = f"{trial.to_hold_ms:.0f} ms, {trial.travel_mm:.1f} mm"
            self.say("bench", f"{fault.name}: {', '.join(trial.stop_causes) or came_to}")
            if fault.ends_run:
                self.last_kill = (fault, trial)
                return
            if not self._recovered(field_):
                self.say("bench", f"not to be cleared: {standing(field_.watcher)}; a new run")
                return
        if self.queue:
            self.say("bench", "the arm does not move; a new run")

    def _moves(self, field_: Field) -> bool:
        """Whether the arm moves; a fault that showed late is cleared."""
        watcher = field_.watcher
        if watcher.states and (watcher.states[-1].errors or watcher.latched):
            self._recovered(field_)
        return watcher.moving()

    def _watch(self, field_: Field, fault: Fault) -> Trial:
        """Inject nothing and count who held the arm; holds that were chosen are no stops.

        Holds of the driver's own count too. A fault is told and recovered from as an operator
        would; the time it took does not count.
        """
        watcher, truth = field_.watcher, field_.truth
        began_ns, first, first_state = truth.t_ns, len(watcher.statuses), len(watcher.states) - 1
        end_ns = began_ns + round(fault.window_s * 1e9)
        deadline = time.monotonic() + fault.wall_s
        while truth.t_ns < end_ns and time.monotonic() < deadline and not self.over:
            if names := (*watcher.states[-1].errors, *watcher.latched):
                halted_ns = truth.t_ns
                self.say("bench", f"{NORMAL}: {', '.join(names)}")
                if not self._recovered(field_):
                    break
                began_ns, end_ns = (t + truth.t_ns - halted_ns for t in (began_ns, end_ns))
            time.sleep(0.01)
        causes = stops(watcher, first, len(watcher.statuses), self.say, field_.supervisor.run_dir)
        causes += driver_holds(watcher.states[first_state:], watcher.commands)
        nan, quiet_s = float("nan"), (truth.t_ns - began_ns) / 1e9
        return Trial(NORMAL, False, nan, nan, quiet_s, len(causes), stop_causes=causes)

    def _attempt(self, field_: Field, fault: Fault) -> Trial | None:
        """Let the arm move for a moment, inject, watch, undo; None when it did not move any more.

        A kill ends the run and counts in any case. What held the arm before an injection that came
        to nothing is kept for the next trial.
        """
        watcher, truth = field_.watcher, field_.truth
        fault.prepare(field_)
        began_ns, calm = truth.t_ns, len(watcher.statuses)
        self._until(lambda: False, self.rng.uniform(0.05, 0.6))
        if fault.homing:
            watcher.call("arbitrator_node/abort")
        self._until(watcher.going_home if fault.homing else watcher.moving, 10.0)
        self.calm_causes += stops(watcher, calm, len(watcher.statuses))
        sign = Sign.before(watcher, fault, truth.t_ns)
        start_ns = field_.do(fault.inject)
        sign = replace(sign, start_ns=start_ns)
        end_ns = start_ns + round(fault.window_s * 1e9)
        self._until(lambda: truth.t_ns >= end_ns, fault.wall_s)
        end_ns = min(end_ns, truth.t_ns)
        _, places = truth.places(start_ns, end_ns)
        if not fault.ends_run:
            fault.undo(field_)
            if not sign.began_in_motion():
                return None
        self._until(sign.is_seen, 0.0 if fault.ends_run else SIGN_S)
        rests_ns = still_ns(*truth.places(start_ns - BEFORE_NS, end_ns))
        held_ns = rests_ns if fault.stands_still else sign.held_ns()
        told = held_ns is not None and sign.began_in_motion()
        to_hold = max(held_ns - start_ns, 0) / 1e6 if told else float("nan")
        travel = self._travel_mm(fault, places)
        quiet_s = (start_ns - began_ns) / 1e9
        moved_on = sign.moved_on(end_ns) if fault.is_final else 0
        causes, self.calm_causes = self.calm_causes, ()
        return Trial(
            fault.name, sign.is_seen(), to_hold, travel, quiet_s, len(causes), moved_on, causes
        )

    def _travel_mm(self, fault: Fault, places: np.ndarray) -> float:
        """Travel [mm]; out of the box where motion goes on, none where a person moves the arm."""
        if fault.takes_over:
            return float("nan")
        return self._outside_mm(places) if fault.moves else travel_mm(places)

    def _outside_mm(self, places: np.ndarray) -> float:
        """How far the arm left the workspace box [mm]."""
        low, high = np.array(self.limits.workspace_min_m), np.array(self.limits.workspace_max_m)
        return max(float(np.maximum(low - places, places - high).max()), 0.0) * 1e3

    def _recovered(self, field_: Field) -> bool:
        """Play the operator: recover the arm, clear what is latched; False when that is refused."""
        watcher, deadline = field_.watcher, time.monotonic() + RECOVERY_S
        self._until(lambda: False, 0.5)
        while time.monotonic() < deadline and not self.over:
            if watcher.states[-1].errors:
                watcher.call("franka_node/recover")
                self._until(lambda: not watcher.states[-1].errors, 3.0)
            elif watcher.latched:
                answer = watcher.call("safety_node/clear")
                if "restart the run" in answer.message:
                    self.say("safety_node", answer.message)
                    return False
                self._until(lambda: not watcher.latched, 1.0)
            elif is_stop(watcher.statuses[-1]):
                self._until(lambda: not is_stop(watcher.statuses[-1]), 1.0)
            else:
                return True
        return False

    def _until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait in steady time, unless the run is over."""
        deadline = time.monotonic() + seconds
        while not condition():
            if self.over or time.monotonic() > deadline:
                return False
            time.sleep(0.002)
        return True
