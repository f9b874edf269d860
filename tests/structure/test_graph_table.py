"""The graph table is consistent in itself and with the sources of the nodes."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

from pld.errors import ConfigError
from pld_nodes import graph
from pld_nodes.graph import PROCESSES, TOPICS, Deployment
from pld_nodes.graph_picture import mermaid

ROOT = Path(__file__).resolve().parents[2]
NODES = [p for p in PROCESSES if p.is_node]


def test_every_topic_stands_once_and_so_has_one_producer() -> None:
    assert [n for n, k in Counter(t.name for t in TOPICS).items() if k > 1] == []


def test_one_node_produces_commands_and_one_acts_on_them() -> None:
    row = graph.topic("arm/command")
    assert row.producer == "safety_node"
    assert row.consumers == ("franka_node",)


def test_producers_and_readers_are_processes_of_the_table() -> None:
    names = {p.name for p in PROCESSES} | {graph.EVERY_NODE}
    for row in TOPICS:
        assert {row.producer, *row.consumers, *row.observers} <= names, row.name


def test_robot_and_sim_run_the_same_nodes_but_for_the_twin() -> None:
    sim = {p.name for p in graph.processes(Deployment.SIM)}
    robot = {p.name for p in graph.processes(Deployment.ROBOT)}
    assert robot < sim
    assert sim - robot == {"twin", "renderer", "twin_node"}


def test_every_stream_that_moves_the_arm_says_when_it_is_stale() -> None:
    for name in ("arm/state", "arbitrator/choice", "arm/command"):
        assert graph.topic(name).stale_after_ms is not None


def test_an_unknown_topic_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="arm/command"):
        graph.topic("arm/comand")


@pytest.mark.parametrize("process", NODES, ids=lambda p: p.name)
def test_a_nodes_source_creates_topics_only_through_the_table(process: graph.Process) -> None:
    path = ROOT / "pld_nodes" / f"{process.executable}.py"
    allowed = {"create_service", "create_client", "create_timer"}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and node.attr.startswith("create_"):
            assert node.attr in allowed, f"{path.name}:{node.lineno} {node.attr}"


def test_the_readme_shows_the_picture_that_the_table_draws() -> None:
    assert mermaid() in (ROOT / "README.md").read_text()
