"""A device that is known gets its next certificate: before the last one ends, or for a while after."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from cloud.audit.log import AuditLog
from cloud.devices.alarm import OnClone, raise_alarm
from cloud.devices.authority import DEVICE_LIFETIME, Authority, certified_key, public_key, serial_number
from cloud.devices.profiles import DAY
from cloud.devices.succession import Certificate, Evidence, Step, next_step
from cloud.store.certificates import Certificates
from cloud.store.database import Database
from cloud.store.devices import Device, Devices, DeviceState
from cloud.store.events import Events
from shared.clock import Clock
from shared.enrolment import RenewAnswer, RenewRequest, RescueRequest
from shared.errors import TrustError
from shared.ids import sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificatePolicy:
    """How long devices are believed."""

    lifetime_s: float = DEVICE_LIFETIME
    rescue_s: float = 90 * DAY
    """After a certificate's end, in which its device may still ask for another one."""

    on_clone: OnClone = OnClone.ALARM


class Renewals:
    """Certificates for devices that have had one; safe to call from several threads."""

    def __init__(self, *, database: Database, authority: Authority, clock: Clock, policy: CertificatePolicy) -> None:
        self._database = database
        self._authority = authority
        self._clock = clock
        self._policy = policy

    def renew(self, request: RenewRequest) -> RenewAnswer:
        """Give a device that proves its present key a new certificate.

        Raises:
            ContractError: a part is not what it should be.
            TrustError: the proof fails, the device was revoked, or the certificate is not its newest.
        """
        at = self._clock.now()
        name = self._authority.check_renewal(request, at=at)
        return self._follow(name, shown=request.certificate, csr=request.csr, action="device.renew", at=at)

    def rescue(self, request: RescueRequest) -> RenewAnswer:
        """Give a device that was away when its certificate ended a new one, for the key it has enrolled with.

        Raises:
            ContractError: a part is not what it should be.
            TrustError: the proof fails, it is too late, the device was revoked, or this is not its newest certificate.
            RefusedError: the certificate is still good.
        """
        at = self._clock.now()
        name = self._authority.check_rescue(request, at=at, grace=self._policy.rescue_s)
        if public_key(request.csr) != certified_key(request.certificate):
            raise TrustError("a rescue is for the same key", hint="Enrol the device with a new token.")
        return self._follow(name, shown=request.certificate, csr=request.csr, action="device.rescue", at=at)

    def _follow(self, name: str, *, shown: str, csr: str, action: str, at: float) -> RenewAnswer:
        with self._database.write() as connection:
            device = Devices(connection).find(name)
            if device is None or device.state is not DeviceState.ENROLLED:
                raise TrustError(f"{name} is not enrolled", hint="Enrol it with a new token.")
            if action == "device.rescue" and device.public_key != public_key(csr):
                raise TrustError(f"{name} has enrolled with another key", hint="Enrol it with a new token.")
            certificate = self._next(connection, device, shown=str(serial_number(shown)), csr=csr, at=at)
            if certificate is not None:
                self._note(connection, device, certificate, action, at=at)
                return RenewAnswer(certificate=certificate.pem)
        # outside: the alarm was committed
        raise TrustError("this certificate is not the device's newest", hint="Enrol the device with a new token.")

    def _next(self, connection: Connection, device: Device, *, shown: str, csr: str, at: float) -> Certificate | None:
        held, key = Certificates(connection), public_key(csr)
        newest = held.find(device.serial)
        if newest is None:
            return None
        same = key == device.public_key
        step = next_step(held.find(shown), newest, enrolled_at=device.enrolled_at, same_key=same, at=at)
        if step is Step.REPEAT:
            return newest
        if step is not Step.ISSUE:
            if step is Step.FORKED:
                raise_alarm(connection, device, Evidence.CERTIFICATES, at=at, on_clone=self._policy.on_clone)
            return None
        held.present(shown, at=at)
        issued = issue(self._authority, csr, device.id, parent=shown, at=at, lifetime=self._policy.lifetime_s)
        held.add(issued)
        Devices(connection).rekey(device.id, key=key, serial=issued.serial, expires_at=issued.expires_at)
        return issued

    def _note(self, connection: Connection, device: Device, issued: Certificate, action: str, *, at: float) -> None:
        before, after = {"serial": device.serial}, {"serial": issued.serial, "key": sha256(_key_of(issued))}
        AuditLog(connection).add(
            at=at, actor=f"device:{device.id}", action=action, subject=device.id, before=before, after=after
        )
        if action == "device.rescue":
            text = f"{device.id} is back after its certificate had expired"
            Events(connection).add("device.rescued", device.id, text, at=at)


def issue(authority: Authority, csr: str, device: str, *, at: float, lifetime: float, parent: str = "") -> Certificate:
    """A new certificate and what is kept of it.

    Raises:
        ContractError: no request for a P-256 key.
        TrustError: the requester does not hold the key.
    """
    pem = authority.issue_device(csr, device, at=at, lifetime=lifetime)
    serial = str(serial_number(pem))
    return Certificate(serial=serial, device=device, parent=parent, issued_at=at, expires_at=at + lifetime, pem=pem)


def _key_of(certificate: Certificate) -> bytes:
    return certified_key(certificate.pem)
