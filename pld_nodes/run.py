"""Putting a run together: check everything that can be checked, then start the supervisor."""

from __future__ import annotations

import dataclasses
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pld.base_policy.registry import is_weights, trained_policy
from pld.calibration.files import load_calibration
from pld.config import load_yaml
from pld.errors import ConfigError, RobotError
from pld.files import read_json, write_json_atomically
from pld.recording.bag import EPISODES_FOLDER
from pld.recording.durable import require_room
from pld.recording.recover import needs_recovery, recover_episode
from pld.recording.run_files import (
    CHECKPOINTS_NAME,
    PARAMETERS_NAME,
    TERMINATION_NAME,
    file_digest,
    termination_reason,
)
from pld.robots.franka import FrankaConfig
from pld.robots.reach import ROBOT_PORT, probe
from pld.run_folder import episode_folders
from pld.safety.limits import load_limits
from pld_nodes import graph
from pld_nodes.graph import Deployment, Process
from pld_nodes.parameters import (
    RunParameters,
    node_parameters,
    resolve,
    takeover_limit,
    with_weights_found,
)
from pld_nodes.processes import command_line
from pld_nodes.resuming import next_episode
from pld_nodes.robot_checks import check_for_real_arm, check_robot_named
from pld_nodes.supervisor import Supervisor
from pld_nodes.usage import UsageSampler

WEIGHTS_PARAMETERS = ("policy", "specialist", "detector")
SETTINGS_PARAMETERS = ("limits", "arm_config")
FCI_PORTS = (ROBOT_PORT, 1338)


def with_run_name(parameters: RunParameters) -> RunParameters:
    """The parameters with a run name made from task and start time, unless one was given."""
    if parameters.run:
        return parameters
    name = f"{parameters.task}-{time.strftime('%Y%m%d-%H%M%S')}"
    return dataclasses.replace(parameters, run=name)


def check_before_start(parameters: RunParameters, deployment: Deployment) -> None:
    """Find what would fail later, while nothing moves; raises an error that names the remedy."""
    if deployment is Deployment.ROBOT:
        check_for_real_arm(parameters)
    limits = load_limits(Path(resolve(parameters.limits)))
    check_robot_named(limits, parameters.limits)
    driver = load_yaml(Path(resolve(parameters.arm_config)), FrankaConfig)
    limits.check_home(driver.home_q_rad)
    limits.check_force(driver.translational_stiffness_n_m, driver.translational_clip_m)
    for path in parameters.calibration_files:
        load_calibration(Path(resolve(path)))
    for name in WEIGHTS_PARAMETERS:
        with_weights_found(getattr(parameters, name))
    check_weights(parameters)
    takeover_limit(parameters)
    require_room(Path(parameters.output_dir))
    if deployment is Deployment.ROBOT:
        probe(parameters.robot_ip)
    else:
        check_ports_free(parameters.robot_ip)


def check_weights(parameters: RunParameters) -> None:
    """All weights must be whole, of this task and rate, and of each other; raises ConfigError."""
    if is_weights(parameters.policy):
        base = trained_policy(Path(parameters.policy), parameters.task, parameters.rate_hz)
        if parameters.specialist:
            from pld.residual.actor import load_actor_over
            from pld.rollout_env import SENSOR_DIM

            features = base.feature_dim + SENSOR_DIM
            load_actor_over(Path(parameters.specialist), parameters.task, base.policy_id, features)
    if is_weights(parameters.detector):
        from pld.reward.classifier import SuccessClassifier

        SuccessClassifier.load(Path(parameters.detector), parameters.task)


def check_ports_free(address: str) -> None:
    """The twin's ports must be free; raises RobotError."""
    for port in FCI_PORTS:
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((address, port))
            except OSError as error:
                raise RobotError(
                    f"port {port} at robot_ip {address!r} cannot be used by the twin: "
                    f"{error.strerror}; end the other run, or give this one a loopback address and "
                    "a namespace of its own: robot_ip:=127.0.0.2 namespace:=other"
                ) from error


def claimed(namespace: str) -> socket.socket:
    """This machine's only graph in `namespace`, as long as the socket is open; RobotError if not.

    Two graphs in one namespace hear each other, and both stop. The kernel gives a name back with
    the process that bound it; nothing listens.
    """
    domain = os.environ.get("ROS_DOMAIN_ID") or "0"
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0pld-{domain}-{namespace}")
    except OSError as error:
        claim.close()
        raise RobotError(
            f"another run is up in namespace {namespace!r} of ROS domain {domain}; end it, or give "
            "this one a namespace of its own with namespace:=other"
        ) from error
    return claim


@dataclass(frozen=True)
class PreparedRun:
    """A run that was checked and may start: its rows, their command lines and its folders."""

    rows: tuple[Process, ...]
    commands: dict[str, list[str]]
    run_dir: Path
    twin_dir: Path | None
    claim: socket.socket

    def supervisor(
        self, say: Callable[[str, str], None], kind: type[Supervisor] = Supervisor
    ) -> Supervisor:
        """The supervisor of this run; `say(name, line)` receives its output."""
        return kind(self.rows, self.commands, self.run_dir, self.twin_dir, say)

    def finish(self) -> None:
        """After the last process: close what a killed recorder left open, then clean up."""
        close_open_episodes(self.run_dir)
        self.clean_up()

    def clean_up(self) -> None:
        """Remove the twin's private folder, and let others have the namespace."""
        self.claim.close()
        if self.twin_dir is not None:
            shutil.rmtree(self.twin_dir, ignore_errors=True)


def prepare(parameters: RunParameters, deployment: Deployment) -> PreparedRun:
    """Check everything, make the run folder and the command lines; nothing is started."""
    parameters = with_run_name(parameters)
    check_before_start(parameters, deployment)
    claim = claimed(parameters.namespace)
    run_dir = Path(parameters.output_dir).resolve() / parameters.run
    files = files_in_use(parameters)
    if parameters.resume:
        refuse_other_files(run_dir, files)
        make_ready(run_dir, parameters.episodes)
    else:
        refuse_used(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    kept = dataclasses.asdict(dataclasses.replace(parameters, resume=""))
    write_json_atomically(run_dir / PARAMETERS_NAME, {"deployment": deployment.value, **kept})
    write_json_atomically(run_dir / CHECKPOINTS_NAME, files)
    twin_dir = _make_twin_dir() if deployment is Deployment.SIM else None
    rows = graph.processes(deployment, parameters.given)
    commands = {
        row.name: command_line(
            row, node_parameters(row, parameters, deployment, twin_dir), parameters.namespace
        )
        for row in rows
    }
    return PreparedRun(rows, commands, run_dir, twin_dir, claim)


def refuse_used(run_dir: Path) -> None:
    """A new run begins in a new folder: ConfigError for a run's, or with others' files."""
    where = f"{run_dir.name!r} exists in {str(run_dir.parent)!r}"
    if (run_dir / PARAMETERS_NAME).exists():
        raise ConfigError(
            f"run: {where}; choose another name, or go on with it: resume:={run_dir.name}"
        )
    if run_dir.exists() and any(run_dir.iterdir()):
        raise ConfigError(f"run: {where} and is no run of the graph; choose another name")


def files_in_use(parameters: RunParameters) -> dict[str, str]:
    """SHA-256 of the files that the run begins with, by the parameter that names each.

    Those of weights, of the safety limits and of the driver's settings.
    """
    named = {name: Path(getattr(parameters, name)) for name in WEIGHTS_PARAMETERS}
    named |= {name: Path(resolve(getattr(parameters, name))) for name in SETTINGS_PARAMETERS}
    return {name: file_digest(path) for name, path in named.items() if path.is_file()}


def refuse_other_files(run_dir: Path, files: dict[str, str]) -> None:
    """A run is of one policy within one set of limits: ConfigError where a file changed since.

    Runs of older versions do not say which limits and driver settings they began with.
    """
    path = run_dir / CHECKPOINTS_NAME
    began: dict[str, str] = read_json(path) if path.exists() else files
    for name, digest in files.items():
        unsaid = name in SETTINGS_PARAMETERS and name not in began
        if began.get(name) != digest and not unsaid:
            raise ConfigError(
                f"{name}: its file is not the one that the run in {str(run_dir)!r} began with; "
                "bring that back, or start a new run"
            )


def make_ready(run_dir: Path, episodes: int) -> None:
    """Close what an ended run left open; ConfigError when it has all its episodes."""
    close_open_episodes(run_dir)
    if (recorded := next_episode(run_dir)) >= episodes:
        raise ConfigError(
            f"resume: {run_dir.name!r} has its {recorded} episodes; for ten more, say "
            f"episodes:={recorded + 10}, which counts those too"
        )
    (run_dir / TERMINATION_NAME).unlink(missing_ok=True)


def execute(
    parameters: RunParameters, deployment: Deployment, say: Callable[[str, str], None]
) -> tuple[int, Path]:
    """Run the process table to its end; returns the exit code and the run folder."""
    run = prepare(parameters, deployment)
    try:
        with UsageSampler(run.run_dir):
            return run.supervisor(say).run(), run.run_dir
    finally:
        run.finish()


def close_open_episodes(run_dir: Path) -> None:
    """Rebuild what a killed recorder left open, with the reason that ended the run."""
    if not (run_dir / EPISODES_FOLDER).is_dir():
        return
    for folder in episode_folders(run_dir):
        if needs_recovery(folder):
            recover_episode(folder, termination_reason(run_dir))


def _make_twin_dir() -> Path:
    """A private folder for the twin's page, frames and socket."""
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    usable = Path(base).is_dir() and os.access(base, os.W_OK | os.X_OK) if base else False
    return Path(tempfile.mkdtemp(prefix="pld-", dir=base if usable else None))
