"""`pld call WORD`: an operator's word to a running graph, on machines without `ros2`.

Every word is one `std_srvs/Trigger` service of the graph.
"""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import typer

from pld.errors import ConfigError, RobotError

SERVICES = {
    "stop": "safety_node/stop",
    "clear": "safety_node/clear",
    "recover": "franka_node/recover",
    "abort": "arbitrator_node/abort",
    "pause": "arbitrator_node/pause",
    "resume": "arbitrator_node/resume",
    "success": "arbitrator_node/success",
    "failure": "arbitrator_node/failure",
    "discard": "arbitrator_node/discard",
    "scene_ready": "arbitrator_node/scene_ready",
}
PATIENCE_S = 5.0
app = typer.Typer(help="Say a word to a running graph.", no_args_is_help=True)


class Answer(NamedTuple):
    """What a service said."""

    success: bool
    message: str


def service_name(word: str, namespace: str) -> str:
    """The full name of the service behind a word; raises ConfigError that lists the words."""
    if word not in SERVICES:
        raise ConfigError.unknown("word", word, SERVICES)
    return "/".join(["", *filter(None, namespace.split("/")), SERVICES[word]])


def ask(service: str, patience_s: float = PATIENCE_S) -> Answer:
    """Call the service in a context of its own; raises RobotError when nobody answers in time."""
    from pld_nodes.ros import environment

    environment.prepare()
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from std_srvs.srv import Trigger

    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("pld_call", context=context)
    try:
        client: Any = node.create_client(Trigger, service)
        if not client.wait_for_service(patience_s):
            raise RobotError(
                f"no service {service!r} within {patience_s:g} s; is a run up? `pld up sim`, or "
                "give its --namespace"
            )
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        future: Any = client.call_async(Trigger.Request())
        executor.spin_until_future_complete(future, patience_s)
        if not future.done():
            raise RobotError(
                f"{service!r} did not answer within {patience_s:g} s; use the emergency stop if "
                "the arm moves"
            )
        return Answer(future.result().success, future.result().message)
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)


@app.command()
def call(
    word: Annotated[str, typer.Argument(help=", ".join(SERVICES))],
    namespace: Annotated[str, typer.Option(help="ROS namespace of the run")] = "pld",
) -> None:
    """Say one word to a running graph: stop, clear, recover, abort, pause, resume, success, ...

    Ends with 0 when the graph did it, with 1 when it refused, with 2 when nobody answered.
    """
    service = service_name(word, namespace)
    answer = ask(service)
    typer.echo(f"{service}: {answer.message}")
    raise typer.Exit(0 if answer.success else 1)
