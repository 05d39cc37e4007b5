"""The desk where devices get, renew and lose their identity: checks, one transaction, then the doors."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from cloud.access.keys import Principal
from cloud.audit.log import AuditLog
from cloud.devices.authority import DEVICE_LIFETIME, Authority, public_key, serial_number
from cloud.devices.doors import Doors
from cloud.devices.enrolment import SECRET_BYTES, Grant, check, mint
from cloud.store.database import Database
from cloud.store.devices import Device, Devices, DeviceState
from cloud.store.events import Events
from cloud.store.tokens import TokenRow, Tokens
from shared.api import TokenIssued, TokenRequest
from shared.clock import Clock
from shared.enrolment import EnrolAnswer, EnrolRequest, RenewAnswer, RenewRequest, encode_token, parse_token
from shared.errors import ContractError, RefusedError, TransportError, TrustError
from shared.ids import Digest, device_id, fleet_id, sha256

log = logging.getLogger(__name__)

MAX_FACTS = 32
"""Hardware facts and runtimes that are believed of one device."""

MAX_FACT = 40
"""Characters of one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """What every device is told when it enrols."""

    url: str
    """Of this API, as devices reach it."""

    tenant: str
    fleet: str
    """Where devices belong when their token does not say."""

    broker_host: str
    broker_port: int
    superlink: str
    server_name: str = ""


class EnrolmentDesk:
    """Who may be a device; safe to call from several threads."""

    def __init__(
        self,
        *,
        database: Database,
        authority: Authority,
        doors: Doors,
        clock: Clock,
        welcome: Welcome,
        root: Callable[[], bytes],
        fleets: Callable[[], Sequence[str]],
    ) -> None:
        """`root` gives the tenant's first TUF root, `fleets` the fleets whose desired state is signed here."""
        self._database = database
        self._authority = authority
        self._doors = doors
        self._clock = clock
        self._welcome = welcome
        self._root = root
        self._fleets = fleets

    @property
    def certificate(self) -> str:
        """The authority's certificate, PEM."""
        return self._authority.certificate

    def issue(self, request: TokenRequest, *, by: Principal) -> TokenIssued:
        """Make a token; it is shown here and never again.

        Raises:
            ContractError: a bad name or lifetime.
            RefusedError: no such fleet.
        """
        at, fleet = self._clock.now(), fleet_id(request.fleet or self._welcome.fleet)
        device = device_id(request.device or f"device-{secrets.token_hex(4)}")
        if fleet not in self._fleets():
            raise RefusedError(
                f"no fleet {fleet!r} is signed for here",
                hint="Add it: stop the coordinator, then `hinterland-coordinator init --fleet …` with every fleet.",
            )
        if not 0 < request.ttl_s <= 365 * 86_400:
            raise ContractError("a token lives between a moment and a year", hint="Give `ttl_s` in seconds.")
        token, grant = mint(
            identifier=f"t-{secrets.token_hex(8)}",
            secret=secrets.token_bytes(SECRET_BYTES),
            url=self._welcome.url,
            ca_sha256=self._authority.fingerprint,
            at=at,
            lifetime=request.ttl_s,
        )
        row = TokenRow(
            id=grant.id,
            secret_sha256=grant.secret_sha256,
            fleet=fleet,
            device=device,
            created_at=at,
            expires_at=grant.expires,
        )
        with self._database.write() as connection:
            Tokens(connection).add(row)
            after = {"device": device, "fleet": fleet, "expires_at": grant.expires}
            AuditLog(connection).add(at=at, actor=by.actor, action="token.create", subject=grant.id, after=after)
        return TokenIssued(token=encode_token(token), fleet=fleet, device=device, expires_at=grant.expires)

    def enrol(self, request: EnrolRequest) -> EnrolAnswer:
        """Trade a token and a proven key for an identity; of any number of keys at once one gets it.

        Raises:
            ContractError: no token or no request for a certificate.
            RefusedError: the token is unknown, expired, or another key's.
            TrustError: the requester does not hold the key.
        """
        at, token, key = self._clock.now(), parse_token(request.token), public_key(request.csr)
        with self._database.write() as connection:
            row = Tokens(connection).find(token.id)
            check(token, None if row is None else _grant(row), at=at)
            if row is None or not Tokens(connection).take(row.id, key=sha256(key), at=at):
                raise RefusedError("the enrolment token was used by another device", hint="Have a new token minted.")
            certificate = self._authority.issue_device(request.csr, row.device, at=at)
            self._admit(connection, request, row, certificate, key, at=at)
        self._open_doors()
        return self._answer(row, certificate)

    def renew(self, request: RenewRequest) -> RenewAnswer:
        """Give a device that proves its present key a new certificate.

        Raises:
            ContractError: a part is not what it should be.
            TrustError: the proof fails, or the device was revoked.
        """
        at = self._clock.now()
        name, key = self._authority.check_renewal(request, at=at), public_key(request.csr)
        with self._database.write() as connection:
            device = Devices(connection).find(name)
            if device is None or device.state is not DeviceState.ENROLLED:
                raise TrustError(f"{name} is not enrolled", hint="Enrol it again with a new token.")
            certificate = self._authority.issue_device(request.csr, name, at=at)
            Devices(connection).rekey(name, key=key, serial=_serial(certificate), expires_at=at + DEVICE_LIFETIME)
            AuditLog(connection).add(at=at, actor=f"device:{name}", action="device.renew", subject=name)
        self._open_doors()
        return RenewAnswer(certificate=certificate)

    def revoke(self, device: str, *, reason: str, by: Principal) -> None:
        """Shut a device out: broker, federated engine, renewal.

        Raises:
            UnknownError: there is none of that name.
        """
        at = self._clock.now()
        with self._database.write() as connection:
            held = Devices(connection).get(device)
            if held.state is DeviceState.REVOKED:
                return
            Devices(connection).revoke(device, at=at)
            states = {"before": {"state": held.state.value}, "after": {"state": DeviceState.REVOKED.value}}
            AuditLog(connection).add(
                at=at, actor=by.actor, action="device.revoke", subject=device, reason=reason, **states
            )
            Events(connection).add("device.revoked", device, f"{device} was shut out", at=at, reason=reason)
        self._open_doors()

    def _admit(
        self, connection: Connection, request: EnrolRequest, row: TokenRow, certificate: str, key: bytes, *, at: float
    ) -> None:
        device = Device(
            id=row.device,
            fleet=row.fleet,
            state=DeviceState.ENROLLED,
            hardware=_facts(request.hardware),
            runtimes=_facts(request.runtimes),
            agent=request.agent[:MAX_FACT],
            public_key=key,
            serial=_serial(certificate),
            expires_at=at + DEVICE_LIFETIME,
            enrolled_at=at,
            last_seen=at,
        )
        Devices(connection).put(device)
        after = {"fleet": row.fleet, "serial": device.serial, "token": row.id}
        AuditLog(connection).add(
            at=at, actor=f"device:{row.device}", action="device.enrol", subject=row.device, after=after
        )
        Events(connection).add("device.enrolled", row.device, f"{row.device} joined {row.fleet}", at=at)

    def _answer(self, row: TokenRow, certificate: str) -> EnrolAnswer:
        return EnrolAnswer(
            device=row.device,
            fleet=row.fleet,
            tenant=self._welcome.tenant,
            certificate=certificate,
            authority=self._authority.certificate,
            root=self._root().decode(),
            broker_host=self._welcome.broker_host,
            broker_port=self._welcome.broker_port,
            superlink=self._welcome.superlink,
            server_name=self._welcome.server_name,
        )

    def _open_doors(self) -> None:
        try:
            self._doors.fit()
        except TransportError as error:
            log.warning("the doors follow in the next turn of the loop: %s", error)


def _grant(row: TokenRow) -> Grant:
    return Grant(id=row.id, secret_sha256=Digest(row.secret_sha256), expires=row.expires_at)


def _serial(certificate: str) -> str:
    return str(serial_number(certificate))


def _facts(claimed: list[str]) -> list[str]:
    """What a device says of itself, cut to a size that can be kept."""
    return sorted({fact[:MAX_FACT] for fact in claimed})[:MAX_FACTS]
