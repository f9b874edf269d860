"""The parameters of a run: one frozen table for `pld up` and for the launch files."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pld.base_policy.registry import MAKERS, WEIGHTS, is_weights
from pld.config import from_mapping
from pld.errors import ConfigError
from pld.evaluation.seeds import EVALUATION_BLOCK
from pld.probing.arbitrator import NEVER
from pld.probing.horizon import latest_takeover
from pld.recording.bag import SAFE_NAME
from pld.recording.viewing import PREFIX
from pld.robots.franka_config import REALTIME
from pld.share import share_path
from pld.tasks import task_facts
from pld_nodes.graph import MODES, Deployment, Process, processes
from pld_nodes.resuming import next_episode, resumed_values

LARGEST_SEED = 2**62  # a parameter of a node has 64 bits
LONGEST_RUN_NAME = 100
"""Episodes are named after their run, and a file system takes no name of more than 255."""
DETECTORS = ("twin", "operator", WEIGHTS)
POLICIES = (*MAKERS, WEIGHTS)
RATES_HZ = (10.0, 20.0)
REPLAY = PREFIX.strip("/")
SUCCESS_STEPS = 3
"""Consecutive control steps at which a learned detector must see success; others know it."""


def _said(text: str, default: Any) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class RunParameters:
    """What an operator may set; `launch/config/<deployment>.yaml` holds the defaults."""

    task: str = _said("what to do: cube_pickup or peg_insertion", "cube_pickup")
    mode: str = _said(
        "what the run is for: collect (the base acts), evaluate (the specialist if there is one, "
        "else the base), probe (the base, then the specialist), learn (as probe, with a specialist "
        "that learns meanwhile)",
        "collect",
    )
    episodes: int = _said("how many episodes to run", 10)
    seed: int = _said("seed of the first episode; the next ones count up", 0)
    rate_hz: float = _said("control rate [Hz]: 10 or 20", 20.0)
    horizon_s: float = _said("longest episode [s] of robot time; 0: the task's own", 0.0)
    policy: str = _said(
        "base policy: " + ", ".join(POLICIES) + "; a real arm takes weights or still", "scripted"
    )
    specialist: str = _said("specialist's weights over that base, FILE.safetensors", "")
    alpha: float = _said("probing: the takeover is drawn from 0 to alpha * T, in [0, 2]", 0.6)
    robot_ip: str = _said("address of the arm", "127.0.0.1")
    realtime: str = _said("real-time kernel: enforce (hardware) or ignore", "enforce")
    arm_config: str = _said("driver settings of the arm", "launch/config/arm_fr3.yaml")
    limits: str = _said("safety limits of the arm", "launch/config/limits_fr3.yaml")
    calibrations: str = _said("camera calibration files, separated by commas", "")
    third_person_serial: str = _said("serial number of the third-person RealSense", "")
    wrist_serial: str = _said("serial number of the wrist RealSense", "")
    depth: bool = _said("publish and record depth images too", False)
    detector: str = _said(
        "success detector: twin, operator, or a classifier's FILE.safetensors", "operator"
    )
    scene: str = _said("who lays the scene: service (twin) or operator", "operator")
    output_dir: str = _said("folder that receives run folders", "runs")
    run: str = _said("name of the run; empty: made from task and start time", "")
    namespace: str = _said("ROS namespace of the run", "pld")
    unattended: bool = _said(
        "simulation only: the arm is recovered after a reflex without an operator", False
    )
    resume: str = _said("name of a run in output_dir that goes on with its next episode", "")

    def __post_init__(self) -> None:
        """Refuse what no node could run with, before anything starts."""
        task_facts(self.task)
        _one_of("mode", self.mode, MODES)
        _one_of("policy", WEIGHTS if is_weights(self.policy) else self.policy, POLICIES)
        self._check_specialist()
        _one_of("realtime", self.realtime, REALTIME)
        _one_of("rate_hz", self.rate_hz, RATES_HZ)
        _one_of("detector", WEIGHTS if is_weights(self.detector) else self.detector, DETECTORS)
        _one_of("scene", self.scene, ("service", "operator"))
        if self.episodes < 1:
            raise ConfigError(f"episodes: {self.episodes} is not at least 1")
        if not 0.0 <= self.horizon_s <= 3600.0:
            raise ConfigError(f"horizon_s: {self.horizon_s:g} is not from 0 to 3600")
        if self.horizon_s and round(self.horizon_s * self.rate_hz) < 1:
            raise ConfigError(f"horizon_s: {self.horizon_s:g} is less than a control step")
        self._check_seeds()
        check_namespace(self.namespace)
        fits = SAFE_NAME.fullmatch(self.run) and len(self.run) <= LONGEST_RUN_NAME
        if self.run and not fits:
            raise ConfigError(
                f"run: {self.run!r} is not a folder name; give up to {LONGEST_RUN_NAME} letters, "
                "digits, '.', '_' and '-' that begin with a letter or a digit"
            )
        try:
            ipaddress.IPv4Address(self.robot_ip)
        except ValueError as error:
            raise ConfigError(f"robot_ip: {self.robot_ip!r} is not an IPv4 address") from error

    def _check_seeds(self) -> None:
        """Episodes begin at starts that there are, and none to learn from at one of evaluations."""
        if self.seed < 0:
            raise ConfigError(f"seed: {self.seed} is negative")
        if self.seed + self.episodes > LARGEST_SEED:
            raise ConfigError(f"seed: {self.seed} is too large; give one below {LARGEST_SEED}")
        seeds, aside = range(self.seed, self.seed + self.episodes), EVALUATION_BLOCK
        if self.mode == "learn" and max(seeds.start, aside.start) < min(seeds.stop, aside.stop):
            raise ConfigError(
                f"mode learn would learn from starts of evaluations: seeds {seeds.start} to "
                f"{seeds.stop - 1}; give seeds below {aside.start}"
            )

    def _check_specialist(self) -> None:
        """Modes with a specialist need one, over a trained base."""
        if self.mode == "probe" and not self.specialist:
            raise ConfigError("mode probe needs specialist:=FILE.safetensors, who takes over")
        if self.mode in ("collect", "learn") and self.specialist:
            raise ConfigError(
                f"mode {self.mode} has no specialist of yours; use mode:=evaluate or mode:=probe"
            )
        if (self.specialist or self.mode == "learn") and not is_weights(self.policy):
            raise ConfigError(
                f"policy {self.policy!r} has no specialist; give the base it was trained over, "
                "policy:=FILE.safetensors"
            )
        latest_takeover(self.alpha, 0)

    @property
    def calibration_files(self) -> tuple[str, ...]:
        """The files that `calibrations` names, as they were named."""
        return tuple(filter(None, self.calibrations.split(",")))

    @property
    def given(self) -> tuple[str, ...]:
        """The parameters that bring a process with them and are set."""
        if self.mode == "learn":
            return ("specialist", "learner")
        return ("specialist",) if self.specialist else ()


def check_namespace(name: str) -> None:
    """The run's namespace must be a ROS name without slashes at its ends; raises ConfigError."""
    if not re.fullmatch(r"[A-Za-z]\w*(/[A-Za-z_]\w*)*", name, re.ASCII):
        raise ConfigError(
            f"namespace: {name!r} is no ROS name; give letters, digits and _ that begin with a "
            "letter, such as pld or cell_1/pld"
        )
    if name.split("/", maxsplit=1)[0] == REPLAY:
        raise ConfigError(f"namespace: {name!r} is where bags are played for viewing")


def _one_of(name: str, value: object, valid: Sequence[object]) -> None:
    if value not in valid:
        raise ConfigError.unknown(name, value, valid)


def rates_named(rates_hz: str) -> tuple[float, ...]:
    """The control rates that a command line names with commas; raises ConfigError."""
    valid = {f"{rate:g}": rate for rate in RATES_HZ}
    words = [word.strip() for word in rates_hz.split(",")]
    for word in words:
        if word not in valid:
            raise ConfigError.unknown("control rate", word, valid)
    return tuple(valid[word] for word in words)


def parse_arguments(deployment: Deployment, arguments: Sequence[str]) -> RunParameters:
    """`name:=value` arguments over the deployment's defaults; raises ConfigError on either."""
    path = share_path(f"launch/config/{deployment.value}.yaml")
    try:
        values: dict[str, Any] = dict(yaml.safe_load(path.read_text()) or {})
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise ConfigError(f"{path}: malformed YAML: {error}") from error
    names = [f.name for f in dataclasses.fields(RunParameters)]
    said: dict[str, Any] = {}
    for argument in arguments:
        name, separator, value = argument.partition(":=")
        if not separator:
            raise ConfigError(f"{argument!r} is not of the form name:=value")
        if name not in names:
            raise ConfigError.unknown("parameter", name, names)
        said[name] = value
    values |= said
    if values.get("resume"):
        default_dir = str(values.get("output_dir", RunParameters.output_dir))
        values = resumed_values(said, deployment.value, default_dir)
    parameters = from_mapping(values, RunParameters, where=deployment.value)
    if parameters.unattended and deployment is Deployment.ROBOT:
        raise ConfigError("unattended: a real arm is recovered by the operator beside it, only")
    return parameters


def resolve(path: str) -> str:
    """A path as given when it exists, else the package's own file of that name."""
    return str(Path(path).resolve()) if Path(path).exists() else str(share_path(path))


def with_weights_found(policy: str) -> str:
    """A policy's name, or the absolute path of its weights; ConfigError where they are missing."""
    if not is_weights(policy):
        return policy
    if not Path(policy).is_file():
        raise ConfigError(f"no weights at {policy!r}; `pld flywheel` and `pld train` make some")
    return str(Path(policy).resolve())


def takeover_limit(parameters: RunParameters) -> int:
    """The last step at which the specialist takes over in this run's mode; NEVER without one.

    An evaluation gives it control at once. Probing draws from U[0, alpha * T] (PLD, arXiv
    2511.00091), T as kept with the specialist's weights.
    """
    if not parameters.specialist:
        return NEVER
    if parameters.mode == "evaluate":
        return 0
    from pld.residual.actor import load_actor

    card = load_actor(Path(parameters.specialist), parameters.task).card
    return latest_takeover(parameters.alpha, card.horizon_steps)


def node_parameters(
    process: Process, parameters: RunParameters, deployment: Deployment, twin_dir: Path | None
) -> Mapping[str, Any]:
    """What one process of the run is told, by name."""
    camera = process.name.removesuffix("_camera_node")
    run_dir = Path(parameters.output_dir).resolve() / parameters.run
    nodes = (row.name for row in processes(deployment, parameters.given) if row.is_node)
    known: dict[str, Any] = dataclasses.asdict(parameters) | {
        "nodes": ",".join(nodes),
        "deployment": deployment.value,
        "twin_dir": str(twin_dir or ""),
        "address": parameters.robot_ip,
        "clock": "robot" if deployment is Deployment.SIM else "host",
        "camera": camera,
        "serial": getattr(parameters, f"{camera}_serial", ""),
        "run_dir": str(run_dir),
        "first_episode": next_episode(run_dir),
        "success_steps": SUCCESS_STEPS if is_weights(parameters.detector) else 1,
        "policy": with_weights_found(parameters.policy),
        "specialist": with_weights_found(parameters.specialist),
        "detector": with_weights_found(parameters.detector),
        "limits": resolve(parameters.limits),
        "arm_config": resolve(parameters.arm_config),
        "calibrations": ",".join(map(resolve, parameters.calibration_files)),
    }
    if "latest_takeover" in process.parameters:  # reads the specialist's weights
        known["latest_takeover"] = takeover_limit(parameters)
    return {name: known[name] for name in process.parameters}
