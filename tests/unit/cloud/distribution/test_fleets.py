import pytest

from cloud.distribution.fleets import MemoryFleets, check_rule, lane_of
from cloud.distribution.schedule import Lane
from cloud.loop.distribution import order_distribution
from cloud.store.devices import Device, Devices, DeviceState
from cloud.store.distribution import SqlFleets
from cloud.store.layouts import SqlLayouts
from cloud.store.releases import Releases
from cloud.store.rows import UnknownError
from shared.bundle import Release, Runtime, Schema, Variant, split
from shared.distribution import Distribution, TimeWindow
from shared.errors import RefusedError
from shared.ids import device_id, sha256

MONDAY_NOON = 1_767_614_400.0  # 5 January 2026
RULE = Distribution(rate_mib_s=2, priority=3, windows=[TimeWindow(days=["mon"], start="22:00", end="05:00")])
DEVICE = Device(
    id="watch-1", fleet="wards", state=DeviceState.ENROLLED, hardware=["cpu"], public_key=b"k", serial="1",
    expires_at=1.0, enrolled_at=0.0, last_seen=0.0,
)  # fmt: skip
DATA = bytes(range(256)) * 40


def release(counter, chunk):
    variant = Variant(
        name="cpu.onnx", runtime=Runtime.ONNXRUNTIME, precision="fp32", hardware=["cpu"], digest=sha256(DATA),
        size=len(DATA), chunks=split(DATA, chunk),
    )  # fmt: skip
    schema = Schema(kind="classification", labels=["a"], input_shape=[1])
    return Release(
        id=f"m-{counter}", model="m", counter=counter, schema=schema, variants=[variant], created=float(counter)
    )


def order(database, fleet="wards", rule=RULE):
    with database.write() as connection:
        return order_distribution(connection, fleet, rule, fleets=["wards"], at=5.0, by="operator:ann")


def test_a_rule_becomes_a_lane():
    assert lane_of(Distribution(), at=0) == Lane()
    assert lane_of(RULE, at=MONDAY_NOON) == Lane(weight=3, rate=2 << 20, open=False)
    assert lane_of(RULE, at=MONDAY_NOON + 11 * 3600).open


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (Distribution(rate_mib_s=0.001), "rate"),
        (Distribution(rate_mib_s=-1), "rate"),
        (Distribution(rate_mib_s=2e6), "rate"),
        (Distribution(priority=0), "priority"),
        (Distribution(priority=101), "priority"),
        (Distribution(windows=[TimeWindow()] * 51), "51 windows"),
        (Distribution(windows=[TimeWindow(days=["someday"])]), "someday"),
    ],
)
def test_a_rule_that_means_nothing_is_refused(rule, said):
    with pytest.raises(RefusedError, match=said) as refused:
        check_rule(rule)
    assert refused.value.hint


def test_what_operators_say_is_what_the_server_reads(database):
    order(database)
    with database.write() as connection:
        Devices(connection).put(DEVICE)
    for fleets in (SqlFleets(database), MemoryFleets(devices={"watch-1": "wards"}, rules={"wards": RULE})):
        assert fleets.rules() == {"wards": RULE}
        assert [fleets.fleet(device_id(name)) for name in ("watch-1", "watch-1", "watch-2")] == ["wards", "wards", ""]


def test_saying_the_same_again_changes_nothing(database):
    assert order(database) == order(database)
    with pytest.raises(UnknownError, match="no fleet"):
        order(database, fleet="elsewhere")


def test_a_blob_keeps_its_first_cut(database):
    with database.write() as connection:
        Releases(connection).add(release(1, 1000))
    layouts = SqlLayouts(database)
    assert len(layouts.layout(sha256(DATA))) == 11
    with database.write() as connection:
        kept = Releases(connection).add(release(2, 3000)).document()
    assert kept.variants[0].chunks == split(DATA, 1000)
    assert len(SqlLayouts(database).layout(sha256(DATA))) == 11
    assert layouts.layout(sha256(b"unknown")) is None
