"""What operators call devices by: a few short words, with which rollouts find them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sqlalchemy import Connection

from cloud.audit.log import AuditLog
from cloud.store.devices import Devices
from shared.errors import ContractError

MOST = 32
"""Labels of one device."""

_KEY = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")
_VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}")


def check_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Return `labels` if they are some.

    Raises:
        ContractError: too many, or a key or value that is too long or has other characters.
    """
    if len(labels) > MOST:
        raise ContractError(f"{len(labels)} labels are too many", hint=f"A device has at most {MOST}.")
    for key, value in labels.items():
        if not _KEY.fullmatch(key):
            raise ContractError(f"{key[:60]!r} is no label", hint="Up to 40 of a to z, 0 to 9, dot, dash, underscore.")
        if not _VALUE.fullmatch(value):
            raise ContractError(
                f"{value[:80]!r} is no value of a label", hint="Up to 63 letters, digits, blanks, dots, dashes."
            )
    return dict(labels)


def label_device(
    connection: Connection, device: str, labels: Mapping[str, str], *, by: str, reason: str, at: float
) -> None:
    """Replace a device's labels; nothing is noted when it has them already.

    Raises:
        ContractError: they are none.
        UnknownError: there is no such device.
    """
    before, after = Devices(connection).get(device).labels, check_labels(labels)
    if before == after:
        return
    Devices(connection).label(device, after)
    AuditLog(connection).add(
        at=at, actor=by, action="device.label", subject=device, reason=reason, before=dict(before), after=dict(after)
    )
