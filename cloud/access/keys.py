"""API keys: what they look like, how they are kept, whom they name.

`hlk_<id>_<secret>`: the id finds the record, Argon2id (RFC 9106) of the secret proves it. A check costs 20 ms and
19 MiB, so a proven key is remembered for a while as a MAC under a key of this process; the record itself is read at
every request, so a revoked key is out at once.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Sequence

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from cloud.access.principal import EVERY_FLEET, Principal, Role, UnauthenticatedError
from cloud.audit.log import AuditLog
from cloud.store.database import Database
from cloud.store.keys import ApiKey, ApiKeys
from cloud.store.rows import UnknownError
from shared.clock import Clock
from shared.errors import ContractError, RefusedError
from shared.ids import Digest, check_name, sha256

PREFIX = "hlk_"
"""Lets secret scanners find a key that was pasted somewhere."""

REMEMBERED = 1024
"""Proven keys held in memory, 32 bytes each."""

USED_S = 60.0
"""How exactly the time of last use is kept, in seconds: not every request should write."""

HINT = "Send `Authorization: Bearer <key>`; `hinterland-coordinator init` wrote the first key to cli.toml."

_FORM = re.compile(rf"{PREFIX}([0-9a-f]{{16}})_([A-Za-z0-9_-]{{43}})")
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 << 10, parallelism=1)  # OWASP's least for Argon2id
_NOBODY = _HASHER.hash(secrets.token_urlsafe(32))


def create(
    database: Database,
    name: str,
    *,
    at: float,
    roles: Sequence[str] = (Role.ADMIN,),
    fleets: Sequence[str] = (EVERY_FLEET,),
    expires_at: float | None = None,
    by: str = "host",
    reason: str = "",
) -> str:
    """Make a key for `name` and return it; it cannot be shown again.

    Args:
        database: where its hash is kept.
        name: a new name; that of a revoked key stays taken, so that the audit log never means two people by one.
        at: now, Unix seconds.
        roles: values of `Role`.
        fleets: where they count.
        expires_at: Unix seconds.
        by: actor for the audit log; `host` is whoever has the coordinator's directory.
        reason: for the audit log.

    Raises:
        ContractError: not a name, a role or a fleet.
        RefusedError: there is a key of that name.
    """
    _check(roles, fleets)
    key = new_key()
    identifier, secret = key.removeprefix(PREFIX).split("_", 1)
    row = ApiKey(
        digest=sha256(identifier.encode()),
        name=check_name(name, kind="key name"),
        created_at=at,
        hash=_HASHER.hash(secret),
        roles=[str(role) for role in roles],
        fleets=list(fleets),
        expires_at=expires_at,
    )
    after = {"roles": row.roles, "fleets": row.fleets, "expires_at": expires_at}
    with database.write() as connection:
        if ApiKeys(connection).named(name) is not None:
            raise RefusedError(f"there is a key of {name!r} already", hint="Choose another name.")
        ApiKeys(connection).add(row)
        AuditLog(connection).add(at=at, actor=by, action="key.create", subject=name, reason=reason, after=after)
    return key


def new_key() -> str:
    """A public id and 256 random bits."""
    return f"{PREFIX}{secrets.token_hex(8)}_{secrets.token_urlsafe(32)}"


def revoke(database: Database, name: str, *, at: float, by: str, reason: str = "") -> ApiKey:
    """Take a key out of use, at once; nothing happens when it is.

    Raises:
        UnknownError: there is none of that name.
        RefusedError: it is the last one that can make others.
    """
    with database.write() as connection:
        store = ApiKeys(connection)
        held = store.named(name)
        if held is None:
            raise UnknownError(f"there is no key of {name[:80]!r}", hint="`hinterland keys list` shows them.")
        others = [key for key in store.all() if key.name != name and key.good(at=at) and Role.ADMIN in key.roles]
        if Role.ADMIN in held.roles and held.good(at=at) and not others:
            raise RefusedError("this is the last administrator's key", hint="Make another one first.")
        if store.revoke(name, at=at):
            AuditLog(connection).add(
                at=at,
                actor=by,
                action="key.revoke",
                subject=name,
                reason=reason,
                before={"state": "in use"},
                after={"state": "revoked"},
            )
        return store.named(name) or held


class KeyDesk:
    """Proves keys; safe to share between threads."""

    def __init__(self, database: Database, *, clock: Clock, tenant: str) -> None:
        """Keys in `database` are those of one tenant."""
        self._database = database
        self._clock = clock
        self._tenant = tenant
        self._secret = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._proven: OrderedDict[bytes, None] = OrderedDict()

    def principal(self, key: str) -> Principal:
        """Whose key this is.

        Raises:
            UnauthenticatedError: unknown, wrong, expired or revoked, all in the same words.
        """
        at, found = self._clock.now(), None
        form = _FORM.fullmatch(key)
        looked_up = sha256((form.group(1) if form else key).encode())
        with self._database.read() as connection:
            found = ApiKeys(connection).find(looked_up)
        right = self._prove(key, found.hash if found else _NOBODY, form.group(2)) if form else _old(found)
        if found is None or not right or not found.good(at=at):
            raise UnauthenticatedError("this API key is unknown, expired or revoked", hint=HINT)
        if found.used_at is None or at - found.used_at > USED_S:
            with self._database.write() as connection:
                ApiKeys(connection).used(found.digest, at=at)
        return Principal(found.name, self._tenant, tuple(found.roles), tuple(found.fleets))

    def remembers(self, key: str) -> bool:
        """Whether a key was proven in this process or needs no slow hash; it may have been revoked since."""
        form = _FORM.fullmatch(key)
        if form is None:
            return True
        with self._database.read() as connection:
            found = ApiKeys(connection).find(sha256(form.group(1).encode()))
        if found is None:
            return False
        with self._lock:
            return self._mac(key, found.hash) in self._proven

    def _mac(self, key: str, kept: str) -> bytes:
        return hmac.digest(self._secret, f"{kept}\0{key}".encode(), hashlib.sha256)

    def _prove(self, key: str, kept: str, secret: str) -> bool:
        mac = self._mac(key, kept)
        with self._lock:
            if mac in self._proven:
                self._proven.move_to_end(mac)
                return True
        try:
            _HASHER.verify(kept, secret)
        except (Argon2Error, InvalidHashError):
            return False
        with self._lock:
            self._proven[mac] = None
            while len(self._proven) > REMEMBERED:
                self._proven.popitem(last=False)
        return True


def digest(key: str) -> Digest:
    """What was kept of a key before there were ids; 256 random bits need no slow hash."""
    return sha256(key.encode())


def _old(found: ApiKey | None) -> bool:
    """Whether a record is one from before, which its lookup by digest has proven."""
    return found is not None and not found.hash


def _check(roles: Sequence[str], fleets: Sequence[str]) -> None:
    unknown = sorted(set(roles) - set(Role))
    if unknown or not roles or not fleets:
        raise ContractError(
            f"no role: {unknown[0][:40]!r}" if unknown else "a key needs a role and a fleet",
            hint=f"Roles are {', '.join(Role)}; `*` stands for every fleet.",
        )
    for fleet in fleets:
        if fleet != EVERY_FLEET:
            check_name(fleet, kind="fleet id")
