"""The head of the audit log as the signed timestamp names it: an anchor that only the timestamp's key can make.

Every device holds the newest timestamp, and the broker retains it, so an older one is easy to come by. Its expiry does
not matter here: what was signed then was true then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Timestamp

from shared.audit import Anchor, Signed
from shared.errors import ContractError, TrustError
from shared.ids import check_digest
from shared.trust.names import ISSUED

AUDIT = "x-audit"
"""Field of the timestamp that names the head of the audit log."""

MAX_SIGNED = 1 << 20
"""Bytes of one metadata file that are looked at."""


def field_of(number: int, digest: str) -> dict[str, Any]:
    """The value of the field."""
    return {"number": number, "digest": digest}


def read_signed(signed: Signed, *, pinned: bytes | None = None) -> Anchor | None:
    """The anchor in a timestamp that the roots vouch for; None when it carries none.

    Args:
        signed: the timestamp, and every root from the first.
        pinned: the first root, from somewhere else than the timestamp; without it, whoever could make a repository of
            their own could make this anchor.

    Raises:
        ContractError: these are no metadata.
        TrustError: a signature is missing, or the first root is not the pinned one.
    """
    first = signed.roots[0].encode() if signed.roots else b""
    if pinned is not None and first.strip() != pinned.strip():
        raise TrustError("the first root is not the one that was given", hint="Give the tenant's own `1.root.json`.")
    root = _newest(signed.roots)
    timestamp = _parse(Timestamp, signed.timestamp)
    _prove(root, "timestamp", timestamp)
    return _anchor(timestamp.signed)


def _newest(roots: Sequence[str]) -> Metadata[Root]:
    if not roots:
        raise ContractError("there is no root to believe the timestamp by")
    root: Metadata[Root] = _parse(Root, roots[0])
    _prove(root, "root", root)
    for text in roots[1:]:
        following = _parse(Root, text)
        if following.signed.version != root.signed.version + 1:
            raise TrustError("the roots are not in order")
        _prove(root, "root", following)
        _prove(following, "root", following)
        root = following
    return root


def _prove(by: Metadata[Root], role: str, metadata: Metadata[Any]) -> None:
    try:
        by.signed.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, ValueError) as error:
        raise TrustError(f"the {role} is not signed by whom the root names: {error}") from error


def _parse(kind: type[Root] | type[Timestamp], text: str) -> Any:
    """Metadata of the expected kind.

    Raises:
        ContractError: it is none.
    """
    if len(text) > MAX_SIGNED:
        raise ContractError(f"metadata over the limit of {MAX_SIGNED} bytes")
    try:
        metadata: Metadata[Any] = Metadata.from_bytes(text.encode())
    except (RepositoryError, ValueError, RecursionError) as error:
        raise ContractError(f"no TUF metadata: {type(error).__name__}") from error
    if not isinstance(metadata.signed, kind):
        raise ContractError(f"no {kind.type} metadata")
    return metadata


def _anchor(timestamp: Timestamp) -> Anchor | None:
    said = timestamp.unrecognized_fields.get(AUDIT)
    if said is None:
        return None
    issued = timestamp.unrecognized_fields.get(ISSUED, 0)
    try:
        number, digest = int(said["number"]), check_digest(str(said["digest"]))
        return Anchor(number=number, digest=digest, at=float(issued), source=f"timestamp {timestamp.version}")
    except (TypeError, KeyError, ValueError, OverflowError) as error:
        raise ContractError("the timestamp names no head of an audit log") from error
