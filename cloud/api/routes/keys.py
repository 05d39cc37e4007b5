"""API keys, and who one is."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from cloud.access.keys import create, revoke
from cloud.access.principal import Action, Principal
from cloud.api.bodies import Answer, Routes, body, reply
from cloud.api.services import Parts, Reason, SharedViewer, allow
from cloud.store.keys import ApiKey, ApiKeys
from shared.access import Key, KeyIssued, KeyRequest, Whoami
from shared.api import Revocation
from shared.errors import ContractError

router = Routes(tags=["access"])

Admin = Annotated[Principal, allow(Action.MANAGE_KEYS)]

LONGEST_S = 10 * 365 * 86_400.0
"""Longest life of a key that has an end."""


@router.get("/whoami")
def whoami(parts: Parts, by: SharedViewer) -> Answer[Whoami]:
    """Who the credential names, and what it is good for."""
    return reply(Whoami(name=by.name, tenant=parts.tenant, roles=list(by.roles), fleets=list(by.fleets)))


@router.get("/keys")
def keys(parts: Parts, by: Admin) -> Answer[list[Key]]:
    """Every key by name, revoked ones too; never the key itself."""
    parts.gate.require(by, Action.MANAGE_KEYS)
    with parts.database.read() as connection:
        return reply([_view(key) for key in ApiKeys(connection).all()])


@router.post("/keys", status_code=201)
def create_key(
    parts: Parts, by: Admin, reason: Reason, request: Annotated[KeyRequest, Depends(body(KeyRequest))]
) -> Answer[KeyIssued]:
    """Make a key; it is shown once."""
    parts.gate.require(by, Action.MANAGE_KEYS)
    if request.ttl_s is not None and not 0 < request.ttl_s <= LONGEST_S:
        raise ContractError("a key lives between a moment and ten years", hint="Give `ttl_s` in seconds, or nothing.")
    at = parts.clock.now()
    expires_at = None if request.ttl_s is None else at + request.ttl_s
    key = create(
        parts.database,
        request.name,
        at=at,
        roles=request.roles,
        fleets=request.fleets,
        expires_at=expires_at,
        by=by.actor,
        reason=request.reason or reason,
    )
    return reply(KeyIssued(key=key, expires_at=expires_at), status=201)


@router.post("/keys/{name}/revoke")
def revoke_key(
    parts: Parts, by: Admin, name: str, reason: Reason, request: Annotated[Revocation, Depends(body(Revocation))]
) -> Answer[Key]:
    """Take a key out of use, at once."""
    parts.gate.require(by, Action.MANAGE_KEYS)
    held = revoke(parts.database, name, at=parts.clock.now(), by=by.actor, reason=request.reason or reason)
    return reply(_view(held))


def _view(key: ApiKey) -> Key:
    return Key(
        name=key.name,
        roles=key.roles,
        fleets=key.fleets,
        created_at=key.created_at,
        expires_at=key.expires_at,
        used_at=key.used_at,
        revoked_at=key.revoked_at,
    )
