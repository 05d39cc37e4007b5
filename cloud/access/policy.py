"""Who may do what: a Cedar policy file, default deny.

Cedar's semantics (https://docs.cedarpolicy.com): an action is allowed when a `permit` matches and no `forbid` does.
The principal is an `Operator` in its roles, the resource a `Scope`: one fleet of a tenant, or with an empty fleet what
the whole tenant shares.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import OrderedDict
from pathlib import Path

import cedarpy

from cloud.access.principal import Action, ForbiddenError, Principal, Role
from shared.clock import Clock
from shared.durable import read_if_present
from shared.errors import RefusedError

log = logging.getLogger(__name__)

DEFAULT = (Path(__file__).parent / "policy.cedar").read_text()
"""Written into a new coordinator's directory, where an administrator may change it."""

SCHEMA = (Path(__file__).parent / "schema.cedarschema").read_text()

MEMORY = 4096
"""Decisions remembered; one costs about 0.1 ms, a remembered one nothing."""

LOOK_S = 1.0
"""Seconds between two looks whether the file has changed."""

_RANKS = tuple(Role)


class Policy:
    """Decisions by one file; safe to share between threads."""

    def __init__(self, path: Path, *, clock: Clock) -> None:
        """Follow the file at `path`; without one, the default counts.

        Raises:
            RefusedError: there is a file and it is no policy.
        """
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: bytes | None = None
        self._looked = clock.monotonic()
        self._decided: OrderedDict[tuple[object, ...], bool] = OrderedDict()
        self._flaw = ""
        self._set = self._read(read_if_present(path))

    @property
    def health(self) -> str:
        """`ok`, or why an older policy than the one on disk counts."""
        self._follow()
        return self._flaw or "ok"

    def allows(self, principal: Principal, action: Action, *, tenant: str, fleet: str = "") -> bool:
        """Whether `principal` may do `action` to `fleet`, or with an empty one to what the tenant shares."""
        self._follow()
        key = (principal, action, tenant, fleet)
        with self._lock:
            known = self._decided.get(key)
        if known is None:
            known = _decide(self._set, principal, action, tenant=tenant, fleet=fleet)
            with self._lock:
                self._decided[key] = known
                while len(self._decided) > MEMORY:
                    self._decided.popitem(last=False)
        return known

    def require(self, principal: Principal, action: Action, *, tenant: str, fleet: str = "") -> None:
        """Refuse what the policy does not allow.

        Raises:
            ForbiddenError: as said.
        """
        if not self.allows(principal, action, tenant=tenant, fleet=fleet):
            where = f"in fleet {fleet}" if fleet else f"in tenant {tenant}"
            raise ForbiddenError(
                f"{principal.name} may not {action} {where}",
                hint="`hinterland whoami` shows your roles; an administrator can give you others.",
            )

    def _follow(self) -> None:
        """Take over a changed file; a broken one changes nothing but `health`."""
        now = self._clock.monotonic()
        with self._lock:
            if now - self._looked < LOOK_S:
                return
            self._looked = now
        data = read_if_present(self._path)
        if data == self._seen:
            return
        try:
            fresh = self._read(data)
        except RefusedError as error:
            self._seen, self._flaw = data, str(error)
            log.error("the policy as it was goes on: %s", error)  # noqa: TRY400 - expected kind of error
            return
        with self._lock:
            self._set, self._flaw = fresh, ""
            self._decided.clear()

    def _read(self, data: bytes | None) -> cedarpy.PolicySet:
        parsed = parse(DEFAULT if data is None else data.decode(errors="replace"))
        self._seen = data
        return parsed


def parse(text: str) -> cedarpy.PolicySet:
    """Read and validate a policy.

    Raises:
        RefusedError: a syntax error, or something our schema does not have.
    """
    hint = "Correct policy.cedar, then look with `hinterland-coordinator policy`."
    try:
        parsed = cedarpy.PolicySet.from_str(text)
        verdict = cedarpy.validate_policies(text, SCHEMA)
    except ValueError as error:
        raise RefusedError(f"the access policy cannot be read: {error}", hint=hint) from error
    if not verdict.validation_passed:
        flaws = "; ".join(str(error) for error in verdict.errors)
        raise RefusedError(f"the access policy is wrong: {flaws}", hint=hint)
    return parsed


def _decide(policies: cedarpy.PolicySet, principal: Principal, action: Action, *, tenant: str, fleet: str) -> bool:
    who = {"type": "Operator", "id": principal.name}
    what = {"type": "Scope", "id": f"{tenant}/{fleet}"}
    roles = [{"type": "Role", "id": role} for role in principal.roles if role in _RANKS]
    entities = [
        {"uid": who, "attrs": {"tenant": principal.tenant, "fleets": list(principal.fleets)}, "parents": roles},
        {"uid": what, "attrs": {"tenant": tenant, "fleet": fleet}, "parents": []},
        *_ranks(),
    ]
    request = {"principal": who, "action": {"type": "Action", "id": str(action)}, "resource": what, "context": {}}
    return bool(cedarpy.is_authorized(request, policies, json.dumps(entities)).allowed)


def _ranks() -> list[dict[str, object]]:
    """Each role within the one before it: whatever a viewer may do, an operator may."""
    uids = [{"type": "Role", "id": str(role)} for role in _RANKS]
    return [{"uid": uid, "attrs": {}, "parents": uids[max(0, n - 1) : n]} for n, uid in enumerate(uids)]
