"""A bag is what standard tools expect, and says what was put into it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import yaml
from mcap.reader import make_reader
from rosbags.rosbag2 import Reader

from pld.errors import ConfigError, RecordingError
from pld.recording.mcap_file import McapFile
from pld.recording.recover import bag_path
from pld.recording.schemas import dependencies, installed_hash, schema_text, type_hash
from pld.recording.verify import verify_episode
from pld_nodes.graph import recorded_topics
from tests.pld.recording_stream import (
    ARM,
    EPISODE,
    STATIC,
    TYPES,
    Stream,
    record,
    session,
    settle,
    store,
)

EXPECTED = Counter(m.topic for m in Stream().episode("e0", 20))


def test_the_reader_of_rosbags_finds_every_message_in_order_of_arrival(tmp_path: Path) -> None:
    with Reader(record(tmp_path)) as reader:
        found = Counter(c.topic for c, _, _ in reader.messages())
        times = [t for _, t, _ in reader.messages()]
    assert found == EXPECTED
    assert times == sorted(times)


def test_the_index_of_mcap_agrees_and_every_time_is_kept(tmp_path: Path) -> None:
    sent = list(Stream().episode("e0", 20))
    with bag_path(record(tmp_path)).open("rb") as stream:
        found = [
            (c.topic, m.data, m.log_time, m.publish_time, m.sequence)
            for _, c, m in make_reader(stream).iter_messages(log_time_order=False)
        ]
    assert found == [(m.topic, m.cdr, m.log_time_ns, m.publish_time_ns, m.sequence) for m in sent]


def test_all_readers_and_hashes_agree(tmp_path: Path) -> None:
    checks = verify_episode(record(tmp_path), installed_hash)
    assert {c.name for c in checks} == set(TYPES)
    assert [c.problems for c in checks] == [()] * len(checks)


def test_a_wrong_type_hash_is_noticed(tmp_path: Path) -> None:
    checks = verify_episode(record(tmp_path), lambda _: "RIHS01_other")
    assert all("RIHS01_other" in " ".join(c.problems) for c in checks)


def test_metadata_speaks_version_9_of_rosbag2(tmp_path: Path) -> None:
    folder = record(tmp_path)
    information = yaml.safe_load((folder / "metadata.yaml").read_text())[
        "rosbag2_bagfile_information"
    ]
    assert information["version"] == 9
    assert information["storage_identifier"] == "mcap"
    assert information["relative_file_paths"] == ["e0.mcap"]
    assert information["message_count"] == sum(EXPECTED.values())
    assert information["custom_data"] is None
    by_name = {
        t["topic_metadata"]["name"]: t["topic_metadata"]
        for t in information["topics_with_message_count"]
    }
    latched = by_name[EPISODE]["offered_qos_profiles"][0]
    assert latched["durability"] == "transient_local"
    assert by_name[ARM]["offered_qos_profiles"][0]["durability"] == "volatile"
    assert latched["reliability"] == "reliable"
    assert latched["lifespan"] == {"sec": 9223372036, "nsec": 854775807}


def test_the_file_itself_carries_the_same_metadata(tmp_path: Path) -> None:
    folder = record(tmp_path)
    with bag_path(folder).open("rb") as stream:
        reader = make_reader(stream)
        records = {m.name: m.metadata for m in reader.iter_metadata()}
        summary = reader.get_summary()
        assert reader.get_header().profile == "ros2"
    inside = yaml.safe_load(records["rosbag2"]["serialized_metadata"])
    outside = yaml.safe_load((folder / "metadata.yaml").read_text())
    assert outside == {"rosbag2_bagfile_information": inside}
    assert summary is not None
    assert {s.encoding for s in summary.schemas.values()} == {"ros2msg"}
    assert {c.message_encoding for c in summary.channels.values()} == {"cdr"}


@pytest.mark.parametrize("kind", sorted({t.type for t in recorded_topics()}))
def test_the_hash_of_each_type_of_the_graph_is_that_of_its_definition(kind: str) -> None:
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    types = get_typestore(Stores.EMPTY)
    types.register(get_types_from_msg(schema_text(kind), kind))
    assert types.hash_rihs01(kind) == type_hash(kind)


def test_an_official_hash_is_the_published_one() -> None:
    # sensor_msgs/msg/Image as shipped by ROS 2 since Iron.
    known = "RIHS01_d31d41a9a4c4bc8eae9be757b0beed306564f7526c88ea6a4588fb9582527d47"
    assert type_hash("sensor_msgs/msg/Image") == known


def test_dependencies_are_fields_of_other_types_only() -> None:
    definition = "Header header # std_msgs/Wrong x\nfloat64[7] q\nPose[] a\nuint8 A=1\n"
    assert dependencies(definition, "own") == ["own/msg/Header", "own/msg/Pose"]
    assert dependencies("string<=10 s\ngeo/Pose[<=2] p", "own") == ["geo/msg/Pose"]


def test_a_type_that_is_not_installed_is_named_with_the_remedy() -> None:
    with pytest.raises(ConfigError, match=r"no_such_msgs/msg/Thing.*install no_such_msgs"):
        schema_text("no_such_msgs/msg/Thing")
    assert installed_hash("no_such_msgs/msg/Thing") == ""


def test_an_unknown_compression_lists_the_valid_ones(tmp_path: Path) -> None:
    with (tmp_path / "x").open("wb") as stream, pytest.raises(ConfigError, match="none, lz4, zstd"):
        McapFile(stream, compression="gzip")


def test_a_latched_message_from_before_is_the_first_in_every_bag(tmp_path: Path) -> None:
    recorder, stream = session(tmp_path), Stream()
    static = bytes(store().serialize_cdr(*_transform()))
    recorder.on_message(stream.message(STATIC, static))
    for episode_id in ("e0", "e1"):
        stream.now_ns += 60_000_000_000
        for message in stream.episode(episode_id, 3):
            recorder.on_message(message)
        settle(recorder)
    for episode_id in ("e0", "e1"):
        with Reader(tmp_path / "episodes" / episode_id) as reader:
            messages = list(reader.messages())
            assert messages[0][0].topic == STATIC
            assert bytes(messages[0][2]) == static
            assert reader.duration < 2_000_000_000


def _transform() -> tuple[object, str]:
    from tests.pld.recording_stream import build

    kind = "tf2_msgs/msg/TFMessage"
    return build(kind, transforms=[build("geometry_msgs/msg/TransformStamped")]), kind


def test_an_episode_folder_is_never_overwritten(tmp_path: Path) -> None:
    folder = record(tmp_path)
    before = bag_path(folder).read_bytes()
    recorder, stream = session(tmp_path), Stream()
    for message in stream.episode("e0", 2):
        recorder.on_message(message)
    assert recorder.status.state.name == "FAILED"
    assert "never overwritten" in recorder.status.error
    assert bag_path(folder).read_bytes() == before


def test_an_unfinished_bag_is_refused_with_the_remedy(tmp_path: Path) -> None:
    from pld.recording.mcap_read import BagFile

    bag = bag_path(record(tmp_path))
    bag.write_bytes(bag.read_bytes()[:-100])
    with pytest.raises(RecordingError, match="pld bag recover"):
        BagFile(bag)
