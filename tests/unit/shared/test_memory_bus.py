"""The faults that only the twin can be told to have; what it shares with the real bus is in the contract suite."""

import pytest

from shared.bus import Delivery
from shared.bus.memory import MemoryBroker
from shared.errors import TransportError


@pytest.fixture
def link():
    broker = MemoryBroker()
    return broker, broker.bus("sender"), broker.bus("receiver")


class Heard(list):
    async def __call__(self, delivery):
        self.append(delivery.payload)


async def test_messages_get_lost_doubled_and_altered(link, running, until):
    broker, sender, receiver = link
    fates = {b"lost": [], b"doubled": [b"doubled"] * 2, b"altered": [b"other"], b"fine": [b"fine"]}
    broker.on_the_way = lambda _to, delivery: [Delivery(delivery.topic, p) for p in fates[delivery.payload]]
    heard = Heard()
    receiver.on("t", heard)
    async with running(sender, receiver):
        for payload in fates:
            await sender.publish("t", payload)
        await until(lambda: b"fine" in heard)
    assert heard == [b"doubled", b"doubled", b"other", b"fine"]


async def test_a_cut_client_hears_nothing_until_restored(link, running, until):
    broker, sender, receiver = link
    heard = Heard()
    receiver.on("t", heard)
    async with running(sender, receiver):
        broker.cut("receiver")
        assert not receiver.connected
        with pytest.raises(TransportError):
            await receiver.publish("t", b"")
        await sender.publish("t", b"missed")
        broker.restore("receiver")
        await until(lambda: receiver.connected)
        await sender.publish("t", b"heard")
        await until(lambda: heard)
    assert (heard, receiver.sessions, sender.sessions) == ([b"heard"], 2, 1)
