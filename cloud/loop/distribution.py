"""What operators say of how fleets are sent model bytes: one transaction each, audited."""

from __future__ import annotations

from collections.abc import Collection

import msgspec
from sqlalchemy import Connection

from cloud.audit.log import AuditLog
from cloud.distribution.fleets import check_rule
from cloud.store.distribution import RuleRow, Rules
from cloud.store.rows import UnknownError
from shared.distribution import Distribution


def order_distribution(
    connection: Connection,
    fleet: str,
    rule: Distribution,
    *,
    fleets: Collection[str],
    at: float,
    by: str,
    reason: str = "",
) -> RuleRow:
    """Serve `fleet` by `rule` from the next look on; nothing happens when it is served so already.

    Raises:
        UnknownError: no such fleet.
        RefusedError: the rule means nothing.
    """
    if fleet not in fleets:
        raise UnknownError(f"no fleet {fleet!r}", hint="`hinterland fleets` lists them.")
    check_rule(rule)
    held, fresh = Rules(connection).find(fleet), RuleRow(fleet=fleet, document=rule, updated_at=at)
    if held is not None and held.document == rule:
        return held
    Rules(connection).put(fresh)
    before = msgspec.to_builtins(held.document) if held else {}
    AuditLog(connection).add(
        at=at,
        actor=by,
        action="fleet.distribution",
        subject=fleet,
        reason=reason,
        before=before,
        after=msgspec.to_builtins(rule),
    )
    return fresh
