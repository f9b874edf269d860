"""Rows of the graph table as topics of a bag, with schema and type hash of the installed types."""

from __future__ import annotations

from pld.recording.bag import OfferedQos, RecordedTopic
from pld.recording.schemas import schema_text, type_hash
from pld_nodes.graph import EVERY_NODE, Topic


def recorded_topic(row: Topic, name: str) -> RecordedTopic:
    """A row of the graph table as a topic of a bag, under its absolute name."""
    return RecordedTopic(
        name=name,
        type=row.type,
        schema=schema_text(row.type),
        type_hash=type_hash(row.type),
        qos=OfferedQos(row.qos.depth, row.qos.reliable, row.qos.latched),
        single_producer=row.producer != EVERY_NODE,
    )
