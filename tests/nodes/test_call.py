"""`pld call WORD`: every word is a service that a node of the graph offers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from domain_coordinator import domain_id

from pld.errors import ConfigError, RobotError
from pld_nodes.call import SERVICES, ask, service_name
from pld_nodes.ros import environment

environment.prepare()

import rclpy  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


def offered_by(node: str) -> set[str]:
    """The services that a node's file creates, and the operator's where it has an `Override`."""
    from pld_nodes.override import ENDINGS

    texts = [(ROOT / "pld_nodes" / f"{node}.py").read_text()]
    names: set[str] = set()
    if "Override(self" in texts[0]:
        texts.append((ROOT / "pld_nodes" / "override.py").read_text())
        names |= set(ENDINGS)
    return names.union(*(re.findall(r'create_service\(Trigger, "~/(\w+)"', t) for t in texts))


@pytest.mark.parametrize("word", SERVICES)
def test_every_word_is_a_service_that_its_node_offers(word: str) -> None:
    node, name = SERVICES[word].split("/")
    assert name in offered_by(node)


def test_a_word_is_named_in_the_namespace_of_the_run() -> None:
    assert service_name("stop", "pld") == "/pld/safety_node/stop"
    assert service_name("stop", "/lab/pld/") == "/lab/pld/safety_node/stop"
    assert service_name("recover", "") == "/franka_node/recover"


def test_an_unknown_word_is_refused_with_the_valid_ones() -> None:
    with pytest.raises(ConfigError, match="unknown word 'halt'; valid: stop, clear, recover"):
        service_name("halt", "pld")


@pytest.fixture
def domain(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    with domain_id() as number:
        monkeypatch.setenv("ROS_DOMAIN_ID", str(number))
        yield number


@pytest.fixture
def graph(domain: int) -> Iterator[list[str]]:
    """A node that offers `safety_node/stop`, and refuses from the second call on."""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    node = rclpy.create_node("safety_node", namespace="/pld", context=context)
    called: list[str] = []

    def stop(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        called.append("stop")
        response.success = len(called) == 1
        response.message = "stopped" if response.success else "it stands already"
        return response

    node.create_service(Trigger, "~/stop", stop)
    executor, over = SingleThreadedExecutor(context=context), threading.Event()
    executor.add_node(node)

    def spin() -> None:
        while not over.is_set():
            executor.spin_once(timeout_sec=0.05)

    thread = threading.Thread(target=spin)
    thread.start()
    yield called
    over.set()
    thread.join()
    node.destroy_node()
    rclpy.shutdown(context=context)


def pld_call(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pld_nodes.cli", "call", *words],
        cwd=ROOT,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_a_word_is_carried_out_and_its_answer_printed(graph: list[str]) -> None:
    done = pld_call("stop")
    assert (done.returncode, done.stdout) == (0, "/pld/safety_node/stop: stopped\n"), done.stderr
    refused = pld_call("stop")
    assert (refused.returncode, refused.stdout) == (
        1,
        "/pld/safety_node/stop: it stands already\n",
    )
    assert graph == ["stop", "stop"]


@pytest.mark.usefixtures("domain")
def test_a_word_that_nobody_hears_is_an_error_that_asks_for_the_run() -> None:
    with pytest.raises(RobotError, match=r"no service '/pld/safety_node/stop' within 0\.2 s; is a"):
        ask("/pld/safety_node/stop", patience_s=0.2)
