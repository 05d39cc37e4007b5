from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.pipelines.sources.sensors.feeds.topics import TopicFeed, follow, parse_path
from edge.settings import sensors as conf
from shared.clock import VirtualClock
from shared.errors import RefusedError


def _feed(**more: Any) -> TopicFeed:
    channels = [
        {"name": "x", "topic": "imu", "path": "acc[0]"},
        {"name": "t", "topic": "temp"},
        {"name": "y", "topic": "imu", "path": "acc[1]"},
    ]
    settings = msgspec.convert({"kind": "mqtt", "host": "h", "channels": channels, **more}, conf.MqttSource)
    return TopicFeed(settings, stream="s", clock=VirtualClock(at=50.0), random=Random(7))


@pytest.mark.parametrize("text", ["", "a", "a.b", "a[0].b", "[3][4]", "long name.x"])
def test_paths_are_read(text: str) -> None:
    steps = parse_path(text)
    assert "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in steps).lstrip(".") == text


@pytest.mark.parametrize("text", ["a..b", "a[", "a[x]", ".a", "a.", "[-1]"])
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(RefusedError):
        parse_path(text)


json = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(json, st.lists(st.text() | st.integers(0, 3), max_size=4))
def test_a_path_leads_somewhere_or_nowhere_in_any_document(document: object, steps: list[str | int]) -> None:
    follow(document, tuple(steps))


@given(st.binary(max_size=60) | json.map(msgspec.json.encode))
def test_no_payload_breaks_the_reader(payload: bytes) -> None:
    for topic, columns in (("imu", 2), ("temp", 1)):
        message = _feed(time="t", every_s=0.1).read(topic, payload)
        assert len(message.times) == len(message.rows) > 0
        assert all(len(row) == columns for row in message.rows)


def test_one_document_gives_all_its_channels_at_one_time() -> None:
    assert _feed().read("imu", b'{"acc": [1, 2.5, 3]}') == ([50.0], [[1.0, 2.5]])
    assert _feed(time="at", time_scale=0.001).read("imu", b'{"acc": [1, 2], "at": 9000}') == ([9.0], [[1.0, 2.0]])


@pytest.mark.parametrize(("payload", "value"), [(b"21.5", 21.5), (b" -3 ", -3), (b"true", 1.0), (b"1e3", 1000)])
def test_a_payload_may_be_the_number(payload: bytes, value: float) -> None:
    assert _feed().read("temp", payload).rows == [[value]]


@pytest.mark.parametrize("payload", [b"", b"off", b'"21.5"', b"{}", b"\xff", b"[1]", b"[" * 100_000])
def test_what_is_no_number_is_none(payload: bytes) -> None:
    ((value,),) = _feed().read("temp", payload).rows
    assert value != value


def test_lists_are_many_samples_of_which_the_time_is_the_lasts() -> None:
    times, rows = _feed(time="t", every_s=0.5).read("imu", b'{"acc": [[1, 2, 3], [4, 5, 6]], "t": 10}')
    assert times == [9.0, 9.5, 10.0]
    assert rows == [[1, 4], [2, 5], [3, 6]]


def test_lists_of_different_lengths_are_no_samples() -> None:
    _, rows = _feed(every_s=0.5).read("imu", b'{"acc": [[1, 2, 3], [4, 5]]}')
    assert [row[0] for row in rows] == [1, 2, 3]
    assert all(row[1] != row[1] for row in rows)
