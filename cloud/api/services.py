"""What the routes work with, and how they get it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request

from cloud.access.keys import Principal, authenticate
from cloud.devices.desk import EnrolmentDesk
from cloud.store.blobs import FileBlobs
from cloud.store.database import Database
from shared.audit import Witness
from shared.clock import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The parts of a coordinator that its API reaches."""

    database: Database
    blobs: FileBlobs
    clock: Clock
    desk: EnrolmentDesk
    tenant: str
    fleet: str
    """Where devices enrol when a token does not say."""

    wake: Callable[[], None]
    """Tells the reconcile loop that there is something to do; safe from any thread."""

    health: Callable[[], Mapping[str, str]]
    """Part → `ok` or what is wrong."""

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


def operator(parts: Parts, authorization: Annotated[str | None, Header()] = None) -> Principal:
    """Who is asking.

    Raises:
        UnauthenticatedError: nobody we know.
    """
    return authenticate(parts.database, authorization)


Operator = Annotated[Principal, Depends(operator)]
