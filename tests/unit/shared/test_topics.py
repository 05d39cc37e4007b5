"""Every MQTT topic, built and parsed in one place."""

import pytest

from shared import topics
from shared.errors import ContractError
from shared.ids import DeviceId, Digest, FleetId, TenantId
from shared.topics import Down, Up

CAMERA = DeviceId("camera-1")
DIGEST = Digest("ab" * 32)


def test_topics_are_the_ones_the_brokers_rules_name() -> None:
    assert topics.up(CAMERA, Up.TELEMETRY) == "hl/1/d/camera-1/up/telemetry"
    assert topics.down(CAMERA, Down.ACK) == "hl/1/d/camera-1/down/ack"
    assert topics.all_up(Up.WANT) == "hl/1/d/+/up/want"
    assert topics.desired(FleetId("home")) == "hl/1/f/home/desired"
    assert topics.tuf_metadata(TenantId("acme"), "3.root.json") == "hl/1/tuf/acme/metadata/3.root.json"
    assert topics.tuf_target(TenantId("acme"), "fleets/home/d.json") == "hl/1/tuf/acme/targets/fleets/home/d.json"
    assert topics.tuf_all(TenantId("acme")) == "hl/1/tuf/acme/#"
    assert topics.chunk(DIGEST, 3) == f"hl/1/blob/{DIGEST}/3"
    assert topics.chunks(DIGEST) == f"hl/1/blob/{DIGEST}/+"


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "hl/1/d/camera-1/up",
        "hl/1/d/camera-1/up/telemetry/more",
        "hl/1/d/camera-1/down/ack",
        "hl/1/d/camera-1/up/shout",
        "hl/2/d/camera-1/up/telemetry",
        "hl/1/d/+/up/telemetry",
        "hl/1/d/Camera/up/telemetry",
        "hl/1/d/coordinator/up/telemetry",
    ],
)
def test_nothing_else_is_an_upward_topic(topic: str) -> None:
    with pytest.raises(ContractError):
        topics.parse_up(topic)


@pytest.mark.parametrize("index", ["", "-1", "+1", "1.0", "٣", "12345678", "0x1", "1 "])
def test_a_chunk_index_is_a_short_plain_number(index: str) -> None:
    with pytest.raises(ContractError):
        topics.parse_chunk(f"hl/1/blob/{DIGEST}/{index}")


@pytest.mark.parametrize(
    ("topic_filter", "topic", "matched"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/b/c", False),
        ("a/b/c", "a/b", False),
        ("a/+", "a/b", True),
        ("a/+", "a/", True),
        ("a/+", "a", False),
        ("a/+/c", "a/b/c", True),
        ("+", "a/b", False),
        ("a/#", "a/b/c", True),
        ("a/#", "a", True),
        ("a/#", "ab", False),
        ("#", "a/b", True),
        ("a", "A", False),
    ],
)
def test_filters_match_as_the_mqtt_specification_says(topic_filter: str, topic: str, matched: bool) -> None:
    assert topics.matches(topic_filter, topic) is matched
