"""The doors that enrolled devices pass: the broker's access and revocation lists, and Flower's register of nodes.

Both are functions of the database, brought in line after every change and again in every turn of the coordinator's
loop, so that a crash between commit and door costs a moment and nothing else.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from cloud.audit.log import AuditLog
from cloud.devices.authority import REVOCATION_LIFETIME, Authority
from cloud.devices.broker import COORDINATOR, Grant, render_access
from cloud.store.certificates import Certificates
from cloud.store.database import Database
from cloud.store.devices import Device, Devices, DeviceState, Standing
from shared.clock import Clock
from shared.durable import read_if_present, write_atomic
from shared.errors import RefusedError
from shared.ids import DeviceId, FleetId, TenantId

log = logging.getLogger(__name__)

T = TypeVar("T")

OBSERVER = "operator"
"""Common name of the certificate that `hinterland tap` uses: reads everything, writes nothing."""


class Nodes(Protocol):
    """The federated engine's register of keys that may take part."""

    def register_node(self, public_key: bytes) -> int:
        """Let the holder of a key (PEM) take part; return its node id.

        Registering a key again returns the same node.

        Raises:
            TransportError: the engine does not answer.
        """
        ...

    def unregister_node(self, node: int) -> None:
        """Shut a node out.

        Raises:
            TransportError: the engine does not answer.
            RefusedError: it does not know the node.
        """
        ...


class BrokerDoor:
    """Mosquitto's lists on disk, and the signal that has them read again."""

    def __init__(
        self,
        *,
        access: Path,
        revoked: Path,
        pid_file: Path,
        authority: Authority,
        tenant: str,
        coordinators: Sequence[str] = (COORDINATOR,),
        signals: bool = True,
    ) -> None:
        """Take the files and what they say; without `signals` somebody beside the broker watches them."""
        self._signals = signals
        self._access = access
        self._revoked = revoked
        self._pid_file = pid_file
        self._authority = authority
        self._tenant = TenantId(tenant)
        self._coordinators = coordinators
        self._rendered: tuple[Sequence[Device | Standing], bytes] = ([], b"")

    def fit(self, devices: Sequence[Device | Standing], *, revoked: Mapping[int, float], at: float) -> bool:
        """Make both lists say what `devices` say; whether anything changed.

        Args:
            devices: all of them.
            revoked: serial → Unix seconds since when a certificate does not count.
            at: Unix seconds.

        Raises:
            FaultError: the disk did not take them.
        """
        access = self._render(devices)
        changed = read_if_present(self._access) != access
        if changed:
            write_atomic(self._access, access)
        changed = self._fit_revoked(revoked, at=at) or changed
        if changed:
            self.signal()
        return changed

    def _render(self, devices: Sequence[Device | Standing]) -> bytes:
        """The access list; that of ten thousand devices is not written anew in every turn."""
        before, text = self._rendered
        if not text or devices != before:
            admitted = [device for device in devices if device.state is DeviceState.ENROLLED]
            grants = [Grant(DeviceId(device.id), FleetId(device.fleet), self._tenant) for device in admitted]
            text = render_access(grants, observers=[OBSERVER], coordinators=self._coordinators).encode()
            self._rendered = (devices, text)
        return text

    def _fit_revoked(self, revoked: Mapping[int, float], *, at: float) -> bool:
        held = read_if_present(self._revoked)
        listed = None if held is None else x509.load_pem_x509_crl(held)
        if listed is not None and _says(listed, revoked.keys()) and not _stale(listed, at=at):
            return False
        number = 1 if listed is None else _number(listed) + 1
        write_atomic(self._revoked, self._authority.revocation_list(revoked, at=at, number=number).encode())
        return True

    def signal(self) -> None:
        """Have the broker read its files again: SIGHUP, if its pid file names one of our processes."""
        if not self._signals:
            return
        try:
            os.kill(int((read_if_present(self._pid_file) or b"").decode().strip() or "x"), signal.SIGHUP)
        except (ValueError, ProcessLookupError):
            log.info("no broker to signal at %s; it reads its lists when it starts", self._pid_file)
        except PermissionError:
            log.warning("the broker runs under another account and must be reloaded by hand")


class Doors:
    """All doors together; safe to call from several threads."""

    def __init__(self, *, database: Database, broker: BrokerDoor, nodes: Nodes | None, clock: Clock) -> None:
        self._database = database
        self._broker = broker
        self._nodes = nodes
        self._clock = clock
        self._lock = threading.Lock()
        self._known: tuple[str | None, list[Standing]] = (None, [])

    def fit(self) -> None:
        """Make every door say what the database says.

        Raises:
            FaultError: the disk did not take a list.
            TransportError: the federated engine does not answer; the broker's door is right already.
        """
        with self._lock:
            with self._database.read() as connection:
                devices, at = self._standing(Devices(connection)), self._clock.now()
                revoked, retired = Certificates(connection).revoked(at=at), Devices(connection).retired_nodes()
            self._broker.fit(devices, revoked=revoked, at=at)
            if self._nodes is not None:
                for device in devices:
                    if (device.state is DeviceState.ENROLLED) is not bool(device.node):
                        self._fit_node(device, self._nodes)
                for node in retired:
                    self._retire(node, self._nodes)

    def _standing(self, devices: Devices) -> list[Standing]:
        """Every device; ten thousand that stand as they stood in the turn before are not read one by one again."""
        said = devices.standing_said()
        if said != self._known[0]:
            self._known = (said, devices.standing())
        return self._known[1]

    def while_shut(self, work: Callable[[], T]) -> T:
        """Do `work` while nobody has the broker read its files: it would find a key without its certificate."""
        with self._lock:
            return work()

    def signal(self) -> None:
        """Have the broker read its files again."""
        with self._lock:
            self._broker.signal()

    def _retire(self, node: str, nodes: Nodes) -> None:
        with suppress(RefusedError):  # out already
            nodes.unregister_node(int(node))
        with self._database.write() as connection:
            Devices(connection).forget_node(node)

    def _fit_node(self, device: Standing, nodes: Nodes) -> None:
        enrolled = device.state is DeviceState.ENROLLED
        with self._database.read() as connection:
            key = Devices(connection).get(device.id).public_key
        if enrolled:
            node = str(nodes.register_node(_pem(key)))
        else:
            with suppress(RefusedError):  # out already
                nodes.unregister_node(int(device.node))
            node = ""
        with self._database.write() as connection:
            Devices(connection).bind_node(device.id, node, key=key)
            AuditLog(connection).add(
                at=self._clock.now(),
                actor="coordinator",
                action="device.node",
                subject=device.id,
                reason=f"the device is {device.state}",
                before={"node": device.node},
                after={"node": node},
            )


def _says(listed: x509.CertificateRevocationList, serials: Collection[int]) -> bool:
    return {entry.serial_number for entry in listed} == set(serials)


def _stale(listed: x509.CertificateRevocationList, *, at: float) -> bool:
    """Whether half of its life is over; after the whole of it the broker lets nobody in."""
    due = listed.next_update_utc
    return due is None or due.timestamp() - at < REVOCATION_LIFETIME / 2


def _number(listed: x509.CertificateRevocationList) -> int:
    return listed.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def _pem(public_key: bytes) -> bytes:
    return load_der_public_key(public_key).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
