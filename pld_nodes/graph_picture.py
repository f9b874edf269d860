"""The graph's picture for the README, drawn from the table."""

from __future__ import annotations

from pld_nodes.graph import PROCESSES, TOPICS

OUTSIDE = (
    "franka_node <--> arm[(Franka arm<br>or its twin)]",
    "third_person_camera_node & wrist_camera_node <--> cameras[(RealSense<br>or software device)]",
    "recorder_node --> bag[(one bag + verdict<br>per episode)]",
)


def mermaid() -> str:
    """A mermaid flowchart: an arrow per acting reader of each topic, and the world outside."""
    nodes = {p.name for p in PROCESSES if p.is_node}
    arrows = [
        f"{row.producer} -- {row.name} --> {reader}"
        for row in TOPICS
        if row.producer in nodes
        for reader in row.consumers
    ]
    lines = ["flowchart LR", *(f"  {line}" for line in (*arrows, *OUTSIDE))]
    return "\n".join(lines)
