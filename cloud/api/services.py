"""What the routes work with, and how they get it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import unquote

from fastapi import Depends, Header, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from cloud.access.approvers import Approvers
from cloud.access.gate import Gate
from cloud.access.principal import Action, Principal
from cloud.devices.desk import EnrolmentDesk
from cloud.jobs.port import Piece
from cloud.store.blobs import FileBlobs
from cloud.store.database import Database
from cloud.store.jobs import JobRow
from shared.audit import Witness
from shared.clock import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The parts of a coordinator that its API reaches."""

    database: Database
    gate: Gate
    blobs: FileBlobs
    clock: Clock
    desk: EnrolmentDesk
    approvers: Approvers
    tenant: str
    fleet: str
    """Where devices enrol when a token does not say."""

    wake: Callable[[], None]
    """Tells the reconcile loop that there is something to do; safe from any thread."""

    job_log: Callable[[JobRow, int], Piece] = lambda _row, since: Piece(b"", since, over=True)
    """What a central job said from a byte on."""

    health: Callable[[], Mapping[str, str]]
    """Part → `ok` or what is wrong."""

    budget_approvals: int = 0
    """Persons beside the proposer who must agree to a greater privacy budget."""

    metrics: Callable[[], bytes] = bytes
    """One scrape in Prometheus' text format."""

    witness: Callable[[], Witness] = lambda: Witness(anchors=[])
    """What is known of earlier heads of the audit log."""

    certificates: Callable[[], Mapping[str, float]] = dict
    """Certificate of ours → days until it ends."""


def services(request: Request) -> Services:
    """The parts, as `create_app` was given them."""
    held = request.app.state.services
    assert isinstance(held, Services)  # noqa: S101  set by create_app, and nothing else may
    return held


Parts = Annotated[Services, Depends(services)]


_CREDENTIAL = HTTPBearer(auto_error=False, description="An API key (`hlk_…`), or a token of the configured issuer.")
_ACTIONS: dict[Callable[..., Any], Action] = {}

MAX_REASON = 500
"""Characters of a reason that are kept."""


def allow(action: Action) -> Any:
    """A dependency that lets in whom the policy allows `action` in at least one fleet.

    What a route then touches it still holds against `Services.gate`.

    Raises:
        UnauthenticatedError: nobody we know.
        ForbiddenError: somebody we know, who may not.
        TooManyError: too often.
    """

    def enter(
        request: Request,
        parts: Parts,
        credential: Annotated[HTTPAuthorizationCredentials | None, Depends(_CREDENTIAL)] = None,
    ) -> Principal:
        by = parts.gate.principal(credential.credentials if credential else None, address=address(request))
        parts.gate.somewhere(by, action)
        return by

    _ACTIONS[enter] = action
    return Depends(enter)


def stranger(request: Request, parts: Parts) -> None:
    """For routes that need no credential: how often an address may ask.

    Raises:
        TooManyError: too often.
    """
    parts.gate.limits.stranger(address(request))


def address(request: Request) -> str:
    """Where a request came from; behind a proxy, the proxy."""
    return request.client.host if request.client else "unknown"


def reason(hinterland_reason: Annotated[str, Header(max_length=3 * MAX_REASON)] = "") -> str:
    """Why, for the audit log; percent-encoded UTF-8. A reason in the body counts more."""
    return unquote(hinterland_reason)[:MAX_REASON]


def action_of(route: APIRoute) -> Action | None:
    """What a route does, as it declares by `allow`."""
    return next((_ACTIONS[call] for call in calls(route.dependant) if call in _ACTIONS), None)


def is_open(route: APIRoute) -> bool:
    """Whether a route declares that it is for strangers."""
    return stranger in calls(route.dependant)


def calls(dependant: Dependant) -> list[Callable[..., Any]]:
    """Every function that is called for a route, itself included."""
    inner = [call for each in dependant.dependencies for call in calls(each)]
    return ([dependant.call] if dependant.call else []) + inner


Stranger = Depends(stranger)
Reason = Annotated[str, Depends(reason)]

Viewer = Annotated[Principal, allow(Action.SEE)]
"""Sees what belongs to its fleets."""

SharedViewer = Annotated[Principal, allow(Action.SEE_SHARED)]
"""Sees what the tenant's fleets share."""
