"""The desk where devices get, renew and lose their identity: checks, one transaction, then the doors."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from cloud.access.principal import Principal
from cloud.audit.log import AuditLog
from cloud.devices.alarm import shut_out
from cloud.devices.authority import Authority, public_key
from cloud.devices.doors import Doors
from cloud.devices.enrolment import SECRET_BYTES, Grant, check, mint
from cloud.devices.labels import check_labels
from cloud.devices.renewal import CertificatePolicy, Renewals, issue
from cloud.store.certificates import Certificates
from cloud.store.database import Database
from cloud.store.devices import Device, Devices, DeviceState
from cloud.store.events import Events
from cloud.store.tokens import TokenRow, Tokens
from shared.api import TokenIssued, TokenRequest
from shared.clock import Clock
from shared.enrolment import (
    EnrolAnswer,
    EnrolRequest,
    RenewAnswer,
    RenewRequest,
    RescueRequest,
    encode_token,
    parse_token,
)
from shared.errors import ContractError, RefusedError, TransportError
from shared.ids import Digest, check_digest, device_id, fleet_id, sha256

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
        policy: CertificatePolicy | None = None,
    ) -> None:
        """`root` gives the tenant's first TUF root, `fleets` the fleets whose desired state is signed here."""
        self._database = database
        self._authority = authority
        self._doors = doors
        self._clock = clock
        self._welcome = welcome
        self._root = root
        self._fleets = fleets
        self._policy = policy or CertificatePolicy()
        self._renewals = Renewals(database=database, authority=authority, clock=clock, policy=self._policy)

    @property
    def certificate(self) -> str:
        """The authority's certificate, PEM."""
        return self._authority.certificate

    @property
    def fleets(self) -> Sequence[str]:
        """Every fleet whose desired state is signed here."""
        return self._fleets()

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
        key = check_digest(request.key_sha256) if request.key_sha256 else ""
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
            key_sha256=key,
            labels=check_labels(request.labels),
        )
        with self._database.write() as connection:
            Tokens(connection).add(row)
            after = {"device": device, "fleet": fleet, "expires_at": grant.expires, "key": key}
            AuditLog(connection).add(
                at=at, actor=by.actor, action="token.create", subject=grant.id, reason=request.reason, after=after
            )
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
            check(token, None if row is None else _grant(row), at=at, key_sha256=sha256(key))
            if row is None or not Tokens(connection).take(row.id, key=sha256(key), at=at):
                raise RefusedError("the enrolment token was used by another device", hint="Have a new token minted.")
            if row.used_at is None:
                certificate = self._admit(connection, request, row, key, at=at)
            else:
                certificate = _given_before(connection, row, key)
        self._open_doors()
        return self._answer(row, certificate)

    def renew(self, request: RenewRequest) -> RenewAnswer:
        """See `Renewals.renew`."""
        answer = self._renewals.renew(request)
        self._open_doors()
        return answer

    def rescue(self, request: RescueRequest) -> RenewAnswer:
        """See `Renewals.rescue`."""
        answer = self._renewals.rescue(request)
        self._open_doors()
        return answer

    def revoke(self, device: str, *, reason: str, by: Principal) -> None:
        """Shut a device out: broker, federated engine, renewal, rescue.

        Raises:
            UnknownError: there is none of that name.
        """
        with self._database.write() as connection:
            held = Devices(connection).get(device)
            if held.state is DeviceState.REVOKED:
                return
            shut_out(connection, held, at=self._clock.now(), actor=by.actor, reason=reason)
        self._open_doors()

    def _admit(self, connection: Connection, request: EnrolRequest, row: TokenRow, key: bytes, *, at: float) -> str:
        issued = issue(self._authority, request.csr, row.device, at=at, lifetime=self._policy.lifetime_s)
        before = Devices(connection).find(row.device)
        device = Device(
            id=row.device,
            fleet=row.fleet,
            state=DeviceState.ENROLLED,
            hardware=_facts(request.hardware),
            runtimes=_facts(request.runtimes),
            agent=request.agent[:MAX_FACT],
            public_key=key,
            node=Devices(connection).keep_node(row.device, key=key),
            serial=issued.serial,
            expires_at=issued.expires_at,
            enrolled_at=at,
            last_seen=at,
            labels={**(before.labels if before else {}), **row.labels},
        )
        Certificates(connection).add(issued)
        Devices(connection).put(device)
        after = {"fleet": row.fleet, "serial": device.serial, "token": row.id, "key": sha256(key)}
        AuditLog(connection).add(
            at=at, actor=f"device:{row.device}", action="device.enrol", subject=row.device, after=after
        )
        Events(connection).add("device.enrolled", row.device, f"{row.device} joined {row.fleet}", at=at)
        return issued.pem

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
    secret = Digest(row.secret_sha256)
    return Grant(id=row.id, secret_sha256=secret, expires=row.expires_at, key_sha256=row.key_sha256)


def _given_before(connection: Connection, row: TokenRow, key: bytes) -> str:
    """What the key that used the token has got: its first answer was lost.

    A device that was revoked since then, or enrolled anew, does not come back by a token that it has used.

    Raises:
        RefusedError: as said.
    """
    device = Devices(connection).find(row.device)
    if device is not None and device.state is DeviceState.ENROLLED and device.public_key == key:
        held = Certificates(connection).find(device.serial)
        if held is not None and held.pem:
            return held.pem
    raise RefusedError("the enrolment token was used", hint="Have a new token minted.")


def _facts(claimed: list[str]) -> list[str]:
    """What a device says of itself, cut to a size that can be kept."""
    return sorted({fact[:MAX_FACT] for fact in claimed})[:MAX_FACTS]
