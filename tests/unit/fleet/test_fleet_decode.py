"""Every topic can be read aloud, and nonsense says that it is."""

import pytest

from fleet.commands.tap import line
from fleet.decode import decode
from shared import topics
from shared.bus import Delivery
from shared.codec import pack
from shared.errors import ContractError
from shared.ids import device_id, fleet_id, sha256, tenant_id
from shared.messages import Ack, Batch, Command, Desired, Record, Stage, Telemetry, UpdateStatus, Want
from shared.topics import Down, Up

A = device_id("watch-1")
DIGEST = sha256(b"x")
WINDOW = Telemetry(
    pipeline="p", model="m", release="m-1", since=0, until=1, processed=7, errors=0, latency_ms=b"s" * 600
)
STEP = UpdateStatus(model="m", release="m-2", stage=Stage.REFUSED, reason="trust: no")


def batch(channel, body):
    return pack(Batch(boot="0" * 16, channel=channel, records=[Record(seq=4, at=1.0, body=pack(body))]))


@pytest.mark.parametrize(
    ("topic", "payload", "said"),
    [
        (topics.up(A, Up.WANT), pack(Want(digest=DIGEST, indices=[1, 2])), {"digest": DIGEST, "indices": [1, 2]}),
        (topics.down(A, Down.ACK), pack(Ack(boot="b", channel=Up.DRIFT, seq=3)), {"channel": "drift", "seq": 3}),
        (topics.down(A, Down.COMMAND), pack(Command(id="1", name="report")), {"name": "report"}),
        (topics.desired(fleet_id("lab")), pack(Desired(timestamp=9)), {"timestamp": 9}),
        (topics.chunk(DIGEST, 5), b"bytes", {"blob": DIGEST, "chunk": 5, "bytes": 5}),
        (
            topics.tuf_metadata(tenant_id("acme"), "3.root.json"),
            b'{"signatures": [], "signed": {"_type": "root", "version": 3, "expires": "2027"}}',
            {"file": "metadata/3.root.json", "_type": "root", "version": 3, "expires": "2027"},
        ),
        (topics.tuf_target(tenant_id("acme"), "fleets/lab/x.desired.json"), b"{}", {"bytes": 2}),
        (topics.tuf_metadata(tenant_id("acme"), "1.root.json"), b"", {"cleared": True}),
    ],
)
def test_every_kind_of_message(topic, payload, said):
    found = decode(topic, payload)
    assert found.items() >= said.items()


def test_batches_are_opened_and_sketches_are_only_counted():
    (record,) = decode(topics.up(A, Up.TELEMETRY), batch(Up.TELEMETRY, WINDOW))["records"]
    assert (record["seq"], record["processed"], record["latency_ms"]) == (4, 7, "600 bytes")
    (record,) = decode(topics.up(A, Up.UPDATE), batch(Up.UPDATE, STEP))["records"]
    assert (record["stage"], record["reason"]) == ("refused", "trust: no")


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("other/topic", b""),
        ("hl/1/d/watch-1/up/gossip", b""),
        ("hl/1/d/watch-1/down/gossip", b""),
        ("hl/1/d/UPPER/up/telemetry", b""),
        (topics.up(A, Up.TELEMETRY), b"\xc1"),
        (topics.up(A, Up.TELEMETRY), batch(Up.TELEMETRY, STEP)),
        ("hl/1/blob/short/1", b""),
        ("hl/1/tuf/acme/metadata/x.json", b"{"),
        ("hl/1/tuf/acme/metadata/x.json", b"\xff"),
    ],
)
def test_nonsense_is_named(topic, payload):
    with pytest.raises(ContractError):
        decode(topic, payload)
    assert "undecodable" in line(Delivery(topic, payload), at=1.0)
