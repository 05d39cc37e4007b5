"""Family `reports`: telemetry that is forged, sent twice, sent by the hundred, or is none."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import msgspec

from shared import api, topics
from shared.codec import pack, unpack
from shared.ids import DeviceId
from shared.messages import Ack, Batch
from shared.topics import Down, Up
from simulations.scenarios.attacks.ground import GUESTS, Ground
from simulations.scenarios.attacks.row import Attack, Seen, Threat
from simulations.scenarios.attacks.session import Session, came, wait
from simulations.scenarios.attacks.words import boot_of, telemetry_batch

LIAR, HONEST = DeviceId("liar-1"), DeviceId("truthful-1")
TIMES = 20


def attacks(ground: Ground) -> Iterator[Attack]:
    """Two devices; what counts is what the coordinator has stored of each."""
    for device in (LIAR, HONEST):
        ground.enrol(device, fleet=GUESTS)
    with ground.session(LIAR) as liar, ground.session(HONEST) as honest:
        for session, device in ((liar, LIAR), (honest, HONEST)):
            session.subscribe(topics.down(device, Down.ACK))
        yield Attack(
            name="forged-for-another",
            threat=Threat.FORGED,
            victim="broker and coordinator",
            done="published telemetry on another device's topic",
            control="that device's own telemetry: stored and acknowledged",
            act=lambda: _forge(ground, liar, honest),
        )
        yield Attack(
            name="batch-sent-again",
            threat=Threat.DUPLICATE,
            victim="coordinator",
            done=f"sent one batch of three records {TIMES} times",
            control="the batch's first copy: stored and acknowledged",
            act=lambda: _repeat(ground, liar),
        )
        yield Attack(
            name="replayed-by-the-broker",
            threat=Threat.DUPLICATE,
            victim="coordinator",
            done="sent an old batch again after newer ones, as a broker that replays does",
            control="the newer ones: stored",
            act=lambda: _replay(ground, liar),
        )
        for name, done, spoil in _nonsense():
            yield Attack(
                name=name,
                threat=Threat.FORGED,
                victim="coordinator",
                done=done,
                control="a proper batch right after it: stored and acknowledged",
                act=_senseless(ground, liar, name, spoil),
            )


def stored(ground: Ground, device: str) -> int:
    """Records that the coordinator has of a device."""
    return ground.client.telemetry().devices.get(device, api.Delivery()).stored


def acknowledged(session: Session, device: DeviceId, boot: str) -> int:
    """The highest number that was acknowledged of an epoch."""
    acks = [unpack(each.payload, Ack) for each in session.on(topics.down(device, Down.ACK))]
    return max((ack.seq for ack in acks if ack.boot == boot), default=0)


def _deliver(session: Session, device: DeviceId, batch: Batch) -> bool:
    """Send a batch; whether it was acknowledged."""
    session.publish(topics.up(device, batch.channel), pack(batch))
    return came(lambda: acknowledged(session, device, batch.boot) >= batch.records[-1].seq)


def _forge(ground: Ground, liar: Session, honest: Session) -> Seen:
    before = stored(ground, HONEST)
    said = liar.publish(topics.up(HONEST, Up.TELEMETRY), pack(telemetry_batch(boot_of("forged"), first=1)))
    accepted = _deliver(honest, HONEST, telemetry_batch(boot_of("own"), first=1, count=2))
    wait(lambda: stored(ground, HONEST) >= before + 2, what="the honest records")
    after = stored(ground, HONEST)
    return Seen(
        refused=after == before + 2,
        error=f"the broker: {said}",
        observed=f"{after - before} records stored of that device, the 2 it sent itself",
        accepted=accepted,
    )


def _repeat(ground: Ground, liar: Session) -> Seen:
    before, batch = stored(ground, LIAR), telemetry_batch(boot_of("again"), first=1)
    accepted = _deliver(liar, LIAR, batch)
    for _ in range(TIMES - 1):
        liar.publish(topics.up(LIAR, Up.TELEMETRY), pack(batch))
    last = _deliver(liar, LIAR, telemetry_batch(boot_of("again"), first=4, count=1))
    after = stored(ground, LIAR)
    return Seen(
        refused=last and after == before + 4,
        observed=f"{3 * TIMES + 1} records sent, {after - before} stored",
        accepted=accepted,
    )


def _replay(ground: Ground, liar: Session) -> Seen:
    boot, before = boot_of("replayed"), stored(ground, LIAR)
    old = telemetry_batch(boot, first=1)
    accepted = _deliver(liar, LIAR, old) and _deliver(liar, LIAR, telemetry_batch(boot, first=4))
    liar.publish(topics.up(LIAR, Up.TELEMETRY), pack(old))
    last = _deliver(liar, LIAR, telemetry_batch(boot, first=7, count=1))
    after = stored(ground, LIAR)
    return Seen(
        refused=last and after == before + 7, observed=f"10 records sent, {after - before} stored", accepted=accepted
    )


def _nonsense() -> Iterator[tuple[str, str, Callable[[Batch], bytes]]]:
    replace = msgspec.structs.replace

    def records(batch: Batch, **fields: object) -> bytes:
        return pack(replace(batch, records=[replace(batch.records[0], **fields), *batch.records[1:]]))

    yield "no-batch", "sent 2 KB of noise", lambda _: bytes(range(256)) * 8
    yield "gaps", "left numbers out of a batch", lambda batch: pack(replace(batch, records=batch.records[::2]))
    yield "impossible-number", "numbered a record 2⁶²", lambda batch: records(batch, seq=1 << 62)
    yield "no-time", "dated a record NaN", lambda batch: records(batch, at=math.nan)
    yield "wrong-channel", "sent updates on the telemetry topic", lambda batch: pack(replace(batch, channel=Up.UPDATE))
    yield "broken-record", "sent a batch whose records are noise", lambda batch: records(batch, body=b"\xc1" * 100)


def _senseless(ground: Ground, liar: Session, name: str, spoil: Callable[[Batch], bytes]) -> Callable[[], Seen]:
    def act() -> Seen:
        boot, before = boot_of(name), stored(ground, LIAR)
        log = ground.world.logs / "serve.log"
        size = log.stat().st_size
        liar.publish(topics.up(LIAR, Up.TELEMETRY), spoil(telemetry_batch(boot, first=1)))
        accepted = _deliver(liar, LIAR, telemetry_batch(boot_of(f"{name} fine"), first=1, count=2))
        came(lambda: log.stat().st_size > size, within_s=1.0)
        said = [line for line in log.read_text()[size:].splitlines() if LIAR in line or "dropped" in line]
        windows = sum(view.processed for view in ground.client.telemetry().inference if view.device == LIAR)
        after = stored(ground, LIAR) - before - 2
        counted = windows <= stored(ground, LIAR)
        return Seen(
            refused=(after <= 0 or name == "broken-record") and acknowledged(liar, LIAR, boot) in (0, 3) and counted,
            error=said[0] if said else "",
            observed=f"{after} of its records stored, {acknowledged(liar, LIAR, boot)} acknowledged",
            accepted=accepted,
        )

    return act
