"""The gate before every route: who asks, how often, and whether the policy lets them."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from pathlib import Path

from cloud.access.keys import HINT, KeyDesk
from cloud.access.limits import Limits
from cloud.access.oidc import Issuer, IssuerKeys, TokenDesk, looks_like_token
from cloud.access.policy import Policy
from cloud.access.principal import Action, Principal, UnauthenticatedError
from cloud.audit.log import AuditLog
from cloud.settings import AccessSettings
from cloud.store.database import Database
from shared.clock import Clock
from shared.errors import FaultError

log = logging.getLogger(__name__)

TOLD_S = 60.0
"""Least seconds between two rows of the audit log about credentials that were none: each row counts them all."""


@dataclass(slots=True, kw_only=True)
class Gate:
    """Safe to share between threads."""

    database: Database
    clock: Clock
    tenant: str
    policy: Policy
    keys: KeyDesk
    limits: Limits
    tokens: TokenDesk | None = None
    """None when no issuer is configured."""

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _untold: int = 0
    _told: float = float("-inf")

    def principal(self, credential: str | None, *, address: str) -> Principal:
        """Who presents `credential`, an API key or a token.

        Raises:
            UnauthenticatedError: nobody we know.
            TooManyError: too many failures of that address and an unproven key, or too many requests of that principal.
            TransportError: the issuer of tokens cannot be asked.
        """
        if credential and not self._cheap(credential):
            self.limits.check_failures(address)
        try:
            found = self._prove(credential or "")
        except UnauthenticatedError:
            self.limits.failed(address)
            self._note(address)
            raise
        self.limits.principal(found.actor)
        return found

    def somewhere(self, by: Principal, action: Action) -> None:
        """Refuse early what is allowed in no fleet; a route still owes `require` for the fleet it touches.

        Raises:
            ForbiddenError: as said.
        """
        if not any(self.allows(by, action, fleet=fleet) for fleet in ("", *by.fleets)):
            self.require(by, action)

    def allows(self, by: Principal, action: Action, *, fleet: str = "") -> bool:
        """Whether the policy lets `by` do `action` in `fleet`, or where all fleets share it."""
        return self.policy.allows(by, action, tenant=self.tenant, fleet=fleet)

    def require(self, by: Principal, action: Action, *, fleet: str = "") -> None:
        """Refuse what it does not.

        Raises:
            ForbiddenError: as said.
        """
        self.policy.require(by, action, tenant=self.tenant, fleet=fleet)

    def sees(self, by: Principal, fleet: str) -> bool:
        """Whether things of `fleet` exist as far as `by` is concerned."""
        return self.allows(by, Action.SEE, fleet=fleet)

    def _cheap(self, credential: str) -> bool:
        """Whether to look at a credential costs little: then even an address with many failures is heard, since
        people who share it did not fail.
        """
        return (self.tokens is not None and looks_like_token(credential)) or self.keys.remembers(credential)

    def _prove(self, credential: str) -> Principal:
        if not credential:
            raise UnauthenticatedError("this request carries no API key and no token", hint=HINT)
        if self.tokens is not None and looks_like_token(credential):
            return self.tokens.principal(credential)
        return self.keys.principal(credential)

    def _note(self, address: str) -> None:
        now = self.clock.monotonic()
        with self._lock:
            self._untold += 1
            if now - self._told < TOLD_S:
                return
            count, self._untold, self._told = self._untold, 0, now
        try:
            with self.database.write() as connection:
                AuditLog(connection).add(
                    at=self.clock.now(),
                    actor=f"address:{address}"[:80],
                    action="access.refuse",
                    subject="credentials",
                    after={"since the last row": count},
                )
        except FaultError as error:
            log.warning("refused credentials were not noted: %s", error)


def open_gate(settings: AccessSettings, *, policy: Path, tenant: str, database: Database, clock: Clock) -> Gate:
    """The gate that `settings` describe, with the policy file at `policy`.

    Raises:
        RefusedError: the policy cannot be read, or the issuer's settings are none.
    """
    tokens = None
    if settings.issuer:
        issuer = Issuer(
            url=settings.issuer,
            audience=settings.audience,
            keys_url=settings.keys_url,
            ca=settings.issuer_ca,
            algorithms=settings.algorithms,
            name_claim=settings.name_claim,
            roles_claim=settings.roles_claim,
            tenant_claim=settings.tenant_claim,
            fleets_claim=settings.fleets_claim,
        )
        tokens = TokenDesk(issuer, IssuerKeys(issuer, clock=clock), clock=clock, tenant=tenant)
    return Gate(
        database=database,
        clock=clock,
        tenant=tenant,
        policy=Policy(policy, clock=clock),
        keys=KeyDesk(database, clock=clock, tenant=tenant),
        limits=Limits(
            principal=settings.per_minute,
            stranger=settings.strangers_per_minute,
            failures=settings.failures_per_minute,
        ),
        tokens=tokens,
    )
