"""A coordinator's part in its group, from what it was told."""

from __future__ import annotations

import secrets

from cloud.cluster.leadership import Leadership
from cloud.cluster.lease import Holder
from cloud.keys import control_token
from cloud.settings import Settings
from cloud.store.database import Database
from shared.clock import Clock
from shared.ids import sha256


def join(settings: Settings, database: Database, clock: Clock) -> Leadership | None:
    """This replica's hold on the lease; None where one coordinator works alone."""
    told = settings.cluster
    if not told.replica:
        return None
    holder = Holder(replica=told.replica, incarnation=secrets.token_hex(8))
    return Leadership(database, holder=holder, clock=clock, lease_s=told.lease_s)


def share_group(settings: Settings) -> str:
    """The group under which replicas share what devices send; empty where one coordinator works alone.

    Whoever knows it, if only a device, can join and have every other message lost: so it follows from a secret.
    """
    if not settings.cluster.replica:
        return ""
    return sha256(b"share:" + control_token(settings).encode())[:32]
