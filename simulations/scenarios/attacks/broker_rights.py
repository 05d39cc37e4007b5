"""Family `topics`: a device that wants more of the broker than its own topics; judged by what is delivered."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from cloud.devices.authority import Authority
from cloud.devices.broker import Access, Grant, rules
from cloud.release.sealed import Sealer
from shared import topics
from shared.codec import pack
from shared.errors import RefusedError
from shared.ids import DeviceId, FleetId
from shared.topics import Down, Up
from simulations.scenarios.attacks.ground import GUESTS, MITM, YARD, Ground
from simulations.scenarios.attacks.row import Attack, Seen, Threat
from simulations.scenarios.attacks.session import Papers, Session, came
from simulations.scenarios.attacks.words import boot_of, telemetry_batch

THIEF, PREY = DeviceId("thief-1"), DeviceId("prey-1")
NOISE = b"written by a device that may not"
SILENCE_S = 0.4
"""How long what must not be delivered is waited for, after something that must was."""


def attacks(ground: Ground) -> Iterator[Attack]:
    """Two enrolled devices, one of them hostile; the tap hears whatever reaches the broker."""
    for device in (THIEF, PREY):
        ground.enrol(device, fleet=GUESTS)
    with ground.session(THIEF) as thief, ground.session(PREY) as prey:
        prey.subscribe(topics.down(PREY, Down.ACK))
        for name, done, topic, retain in _writes(ground):
            yield Attack(
                name=name,
                threat=Threat.TOPICS,
                victim="broker",
                done=done,
                control="a message of the same session on its own topic: delivered",
                act=_writing(ground, thief, topic, retain=retain),
            )
        for name, done, wanted in _reads():
            yield Attack(
                name=name,
                threat=Threat.TOPICS,
                victim="broker",
                done=done,
                control="the device whom the answer is for hears it",
                act=_reading(ground, thief, prey, wanted),
            )
    for name, threat, done, papers in _strangers(ground):
        yield Attack(
            name=name,
            threat=threat,
            victim="broker",
            done=done,
            control="an enrolled device with its own certificate: connected",
            act=_connecting(ground, papers),
        )
    yield Attack(
        name="another-client-id",
        threat=Threat.TOPICS,
        victim="broker",
        done="connected under the client id of another device, to push it off",
        control="that device stays connected and is heard",
        act=lambda: _pushing(ground),
    )


def _writes(ground: Ground) -> Iterator[tuple[str, str, str, bool]]:
    tenant, other = ground.tenant, topics.up(PREY, Up.TELEMETRY)
    chunk = topics.chunk("0" * 64, 0)  # type: ignore[arg-type]  # a digest by its form
    yield "write-anothers-telemetry", "published on another device's telemetry topic", other, False
    yield "write-anothers-update", "published on another device's update topic", topics.up(PREY, Up.UPDATE), False
    yield "write-anothers-command", "sent another device a command", topics.down(PREY, Down.COMMAND), False
    yield "write-own-ack", "acknowledged its own records", topics.down(THIEF, Down.ACK), False
    yield "write-desired", "published a retained pointer for its fleet", topics.desired(FleetId(YARD)), True
    yield "write-timestamp", "published a timestamp", topics.tuf_metadata(tenant, "timestamp.json"), True
    yield "write-manifest", "published a manifest", topics.tuf_target(tenant, "releases/x/y.manifest.json"), True
    yield "write-chunk", "published a chunk of a model", chunk, False
    yield "write-system", "published on $SYS", "$SYS/broker/uptime", True


def _writing(ground: Ground, thief: Session, topic: str, *, retain: bool) -> Callable[[], Seen]:
    def act() -> Seen:
        mark = ground.mark()
        said = thief.publish(topic, NOISE, retain=retain)
        own = topics.up(THIEF, Up.DRIFT)
        thief.publish(own, NOISE)
        accepted = came(lambda: bool(ground.tap.on(own, after=mark)))
        time.sleep(SILENCE_S)
        delivered = [each for each in ground.tap.on(topic, after=mark) if each.payload == NOISE]
        return Seen(
            refused=not delivered and ground.tap.retained.get(topic) != NOISE,
            error="" if said == "Success" else f"the broker: {said}",
            observed=f"{len(delivered)} messages delivered on {topic}",
            accepted=accepted,
        )

    return act


def _reads() -> Iterator[tuple[str, str, str]]:
    yield "read-anothers-answers", "subscribed to all that another device hears", f"hl/1/d/{PREY}/down/#"
    yield "read-anothers-reports", "subscribed to all that another device says", f"hl/1/d/{PREY}/up/#"
    yield "read-everything", "subscribed to #", "#"
    yield "read-all-devices", "subscribed to all topics of all devices", "hl/1/d/+/#"
    yield (
        "read-another-fleet",
        "subscribed to another fleet's retained pointer",
        topics.desired(FleetId(MITM)),
    )


def _reading(ground: Ground, thief: Session, prey: Session, wanted: str) -> Callable[[], Seen]:
    """The prey sends records, and the coordinator acknowledges them: both ways there is something to overhear."""

    def act() -> Seen:
        before, hers = len(thief.heard), len(prey.heard)
        granted = thief.subscribe(wanted)
        prey.publish(topics.up(PREY, Up.TELEMETRY), pack(telemetry_batch(boot_of(wanted), first=1)))
        accepted = came(lambda: any(each.topic == topics.down(PREY, Down.ACK) for each in prey.heard[hers:]))
        time.sleep(SILENCE_S)
        foreign = [each.topic for each in thief.heard[before:] if not _its_own(ground, each.topic)]
        return Seen(
            refused=not foreign,
            observed=f"SUBACK said {granted}; {len(foreign)} messages that are not its own were delivered",
            accepted=accepted,
        )

    return act


def _its_own(ground: Ground, topic: str) -> bool:
    """Whether the thief may read a topic like every device of its fleet: `cloud.devices.broker.rules` lists them."""
    grant = Grant(THIEF, FleetId(GUESTS), ground.tenant)
    return any(rule.access is not Access.WRITE and topics.matches(rule.topic_filter, topic) for rule in rules(grant))


def _strangers(ground: Ground) -> Iterator[tuple[str, Threat, str, Papers]]:
    ca, place = ground.world.layout.ca, ground.world.directory / "strangers"
    place.mkdir(exist_ok=True)
    other = Authority.create(place / "ca", name="evil", sealer=Sealer(b"evil"), at=time.time())
    made = other.issue_client("coordinator", at=time.time())
    certificate, key = _kept(place, "coordinator", made.certificate, made.key)
    stranger = Threat.TOPICS
    yield "no-certificate", stranger, "connected without a certificate", Papers(ca=ca)
    yield (
        "self-made-authority",
        stranger,
        "connected as coordinator with a certificate of an authority of its own",
        Papers(ca=ca, certificate=certificate, key=key),
    )
    server = ground.papers("broker")
    yield (
        "server-certificate",
        stranger,
        "connected with the stolen certificate of the broker, which is a server's",
        server,
    )
    expired = ground.papers("coordinator").ca.parent
    issued = Authority.open(expired, sealer=Sealer(ground.world.layout.passphrase.read_bytes().strip()))
    old = issued.issue_client("coordinator", at=time.time() - 100 * 86_400.0)
    certificate, key = _kept(place, "expired", old.certificate, old.key)
    yield (
        "expired-certificate",
        stranger,
        "connected with a certificate of the coordinator that expired ten days ago",
        Papers(ca=ca, certificate=certificate, key=key),
    )


def _kept(place: Path, name: str, certificate: str, key: str) -> tuple[Path, Path]:
    for suffix, text in (("crt", certificate), ("key", key)):
        (place / f"{name}.{suffix}").write_text(text)
    return place / f"{name}.crt", place / f"{name}.key"


def _connecting(ground: Ground, papers: Papers) -> Callable[[], Seen]:
    def act() -> Seen:
        error = ""
        try:
            with Session(ground.port, papers, name="coordinator"):
                pass
        except RefusedError as refusal:
            error = str(refusal)
        with ground.session(THIEF) as honest:
            said = honest.publish(topics.up(THIEF, Up.DRIFT), NOISE)
        return Seen(
            refused=bool(error), error=error, observed="no session was opened", accepted=said in ("Success", "")
        )

    return act


def _pushing(ground: Ground) -> Seen:
    with ground.session(PREY) as prey, Session(ground.port, ground.papers_of(THIEF), name=PREY) as thief:
        time.sleep(SILENCE_S)
        said = prey.publish(topics.up(PREY, Up.DRIFT), NOISE)
        forged = thief.publish(topics.up(PREY, Up.DRIFT), NOISE)
        return Seen(
            refused=not prey.lost.is_set() and "authorized" in forged.lower(),
            error=f"the broker: {forged}",
            observed="the other device's session was not ended",
            accepted=said == "Success",
        )
