"""The graph as data: every topic and every process, once.

Launch files, the supervisor, staleness limits, the recorder's list and the README diagram are
made from these tables; structure tests hold the nodes to them. Topic names are relative to the
namespace of the run.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from enum import Enum

from pld.contract import CAMERAS
from pld.errors import ConfigError


class Deployment(str, Enum):
    """Where the graph runs; the nodes are the same."""

    SIM = "sim"
    ROBOT = "robot"


class OnExit(str, Enum):
    """What the end of a process means for the run."""

    END_RUN = "end_run"
    FINISH_RUN = "finish_run"


@dataclass(frozen=True)
class Qos:
    """The quality of service that a topic is offered and asked with.

    `deadline_s` [s] of steady time without a message: the middleware tells the readers. It is the
    lease of the writer's liveliness too, which only its messages renew. None: nobody is told.
    """

    depth: int
    reliable: bool = True
    latched: bool = False
    deadline_s: float | None = None


@dataclass(frozen=True)
class Topic:
    """One topic: exactly one producer; `consumers` act on it, `observers` only watch.

    The recorder reads every topic that is `recorded`; it is not repeated in each row.
    """

    name: str
    type: str
    producer: str
    consumers: tuple[str, ...] = ()
    observers: tuple[str, ...] = ()
    qos: Qos = Qos(10)
    stale_after_ms: float | None = None
    recorded: bool = True


@dataclass(frozen=True)
class Process:
    """One process of a run.

    `executable` is the node's module in `pld_nodes`, or a module path for a program of the twin.
    `parameters` names the launch parameters that it takes (see pld_nodes.parameters). A process
    with `only_with` is part of a run that sets this launch parameter. Without `deployments` no run
    starts it: an operator does, beside a run.
    """

    name: str
    executable: str
    parameters: tuple[str, ...]
    deployments: tuple[Deployment, ...] = (Deployment.SIM, Deployment.ROBOT)
    on_exit: OnExit = OnExit.END_RUN
    is_node: bool = True
    only_with: str = ""


MODES = ("collect", "evaluate", "probe", "learn")
STREAM = Qos(5)
COMMAND = Qos(1, deadline_s=2.0)  # the driver's own watchdogs come first
LATCHED = Qos(1, latched=True)
EVERY_NODE = "every node"
ARBITRATOR = ("arbitrator_node",)
# Nodes that work at every control step while nobody waits for an answer.
BEATING = ("recorder_node", "residual_node", "reward_node", "twin_node")
SEEING = ("vla_node", "residual_node", "reward_node")


def camera_node(camera: str) -> str:
    """Node name of a camera."""
    return f"{camera}_camera_node"


def image_topic(camera: str) -> str:
    """The topic of a camera's colour images."""
    return f"camera/{camera}/color/image_raw"


def info_topic(camera: str) -> str:
    """What comes with every colour image of a camera, without its pixels."""
    return f"camera/{camera}/color/camera_info"


def heartbeat_topic(node: str) -> str:
    """Where a node of BEATING tells the safety node the control steps that it has worked on."""
    return f"{node}/heartbeat"


def stale_ns(camera: str) -> float:
    """Age [ns] from which the table takes a camera's image for stale."""
    limit_ms = topic(image_topic(camera)).stale_after_ms
    return float("inf") if limit_ms is None else limit_ms * 1e6


def _camera_topics(camera: str) -> tuple[Topic, ...]:
    node, base = camera_node(camera), f"camera/{camera}"
    image, info = "sensor_msgs/msg/Image", "sensor_msgs/msg/CameraInfo"
    return (
        Topic(image_topic(camera), image, node, SEEING, (), STREAM, 100.0),
        Topic(info_topic(camera), info, node, ("safety_node",), (), STREAM),
        Topic(f"{base}/depth/image_rect_raw", image, node, (), (), STREAM),
        Topic(f"{base}/depth/camera_info", info, node, (), (), STREAM),
    )


def _heartbeat(node: str) -> Topic:
    return Topic(heartbeat_topic(node), STEP, node, ("safety_node",), qos=STREAM, recorded=False)


PLD = "pld_interfaces/msg"
STEP = "std_msgs/msg/UInt64"
TIME = "builtin_interfaces/msg/Time"
TOPICS: tuple[Topic, ...] = (
    *(topic for camera in CAMERAS for topic in _camera_topics(camera)),
    Topic(
        "arm/state",
        f"{PLD}/ArmState",
        "franka_node",
        ("vla_node", "residual_node", "arbitrator_node", "safety_node", "reward_node"),
        ("learner_node", "teleop_node", "twin_node"),
        STREAM,
        150.0,
    ),
    Topic("arm/time", TIME, "franka_node", ("safety_node",), (), STREAM, recorded=False),
    Topic(
        "base/action",
        f"{PLD}/BaseAction",
        "vla_node",
        ("residual_node", "arbitrator_node"),
        (),
        STREAM,
    ),
    Topic("residual/action", f"{PLD}/ResidualAction", "residual_node", ARBITRATOR, (), STREAM),
    Topic("teleop/action", f"{PLD}/HumanAction", "teleop_node", ARBITRATOR, (), STREAM, 150.0),
    Topic(
        "arbitrator/choice", f"{PLD}/Choice", "arbitrator_node", ("safety_node",), (), STREAM, 100.0
    ),
    Topic("arm/command", f"{PLD}/ArmCommand", "safety_node", ("franka_node",), (), COMMAND, 100.0),
    Topic(
        "safety/status",
        f"{PLD}/SafetyStatus",
        "safety_node",
        ("arbitrator_node", "franka_node"),
        ("twin_node",),
        STREAM,
    ),
    Topic("safety/attended", STEP, "safety_node", ("twin_node",), (), STREAM, recorded=False),
    Topic(
        "episode",
        f"{PLD}/EpisodeStatus",
        "arbitrator_node",
        ("vla_node", "residual_node", "recorder_node"),
        ("teleop_node",),
        LATCHED,
    ),
    Topic("task/reward", f"{PLD}/Reward", "reward_node", ARBITRATOR, (), STREAM),
    Topic(
        "recorder/status",
        f"{PLD}/RecorderStatus",
        "recorder_node",
        ("arbitrator_node", "safety_node", "learner_node"),
        (),
        LATCHED,
        recorded=False,
    ),
    Topic(
        "learner/weights",
        f"{PLD}/PolicyWeights",
        "learner_node",
        ("residual_node", "arbitrator_node"),
        (),
        LATCHED,
    ),
    Topic("joint_states", "sensor_msgs/msg/JointState", "franka_node", (), (), STREAM),
    Topic("/tf", "tf2_msgs/msg/TFMessage", "franka_node", (), (), STREAM),
    Topic("/tf_static", "tf2_msgs/msg/TFMessage", "franka_node", (), (), LATCHED),
    Topic("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray", EVERY_NODE),
    *(_heartbeat(node) for node in BEATING),
)

# What every run has, between episodes too.
STREAMED = tuple(t.name for t in TOPICS if t.stale_after_ms and t.producer != "teleop_node")

SIM_ONLY = (Deployment.SIM,)
BY_HAND = ()
PROCESSES: tuple[Process, ...] = (
    Process(
        "twin",
        "pld.twin.serve",
        ("task", "address", "twin_dir", "seed", "rate_hz"),
        SIM_ONLY,
        is_node=False,
    ),
    Process(
        "renderer", "pld.twin.renderer", ("task", "twin_dir", "depth"), SIM_ONLY, is_node=False
    ),
    *(
        Process(camera_node(camera), "camera_node", ("camera", "serial", "depth", "twin_dir"))
        for camera in CAMERAS
    ),
    Process("twin_node", "twin_node", ("twin_dir", "unattended"), SIM_ONLY),
    Process(
        "franka_node",
        "franka_node",
        ("robot_ip", "rate_hz", "realtime", "clock", "arm_config", "calibrations", "twin_dir"),
    ),
    Process("safety_node", "safety_node", ("rate_hz", "limits")),
    Process("recorder_node", "recorder_node", ("run_dir", "deployment", "nodes")),
    Process("vla_node", "vla_node", ("task", "policy", "rate_hz", "twin_dir")),
    Process(
        "residual_node",
        "residual_node",
        ("task", "policy", "specialist", "rate_hz"),
        only_with="specialist",
    ),
    Process(
        "learner_node",
        "learner_node",
        ("task", "policy", "run_dir", "seed", "rate_hz", "horizon_s"),
        only_with="learner",
    ),
    Process("reward_node", "reward_node", ("task", "detector", "twin_dir", "rate_hz")),
    Process(
        "arbitrator_node",
        "arbitrator_node",
        (
            "task",
            "mode",
            "episodes",
            "first_episode",
            "seed",
            "rate_hz",
            "horizon_s",
            "run",
            "scene",
            "latest_takeover",
            "alpha",
            "success_steps",
        ),
        on_exit=OnExit.FINISH_RUN,
    ),
    Process("teleop_node", "teleop_node", (), BY_HAND),
)


def processes(deployment: Deployment, given: Container[str] = ()) -> tuple[Process, ...]:
    """The processes of a deployment in the order in which they start.

    `given` are the launch parameters that are set, of those that bring a process with them.
    """
    rows = (p for p in PROCESSES if deployment in p.deployments)
    return tuple(p for p in rows if not p.only_with or p.only_with in given)


def topic(name: str) -> Topic:
    """The row of a topic; raises ConfigError that lists the topics."""
    for row in TOPICS:
        if row.name == name:
            return row
    raise ConfigError.unknown("topic", name, (row.name for row in TOPICS))


def recorded_topics() -> tuple[Topic, ...]:
    """What the recorder writes into every bag."""
    return tuple(row for row in TOPICS if row.recorded)


def read_by(node: str) -> tuple[str, ...]:
    """Topics that a node subscribes to, as its row in the table says."""
    if node == "recorder_node":
        acted = {t.name for t in TOPICS if node in t.consumers}
        return tuple(t.name for t in TOPICS if t.recorded or t.name in acted)
    return tuple(t.name for t in TOPICS if node in (*t.consumers, *t.observers))
