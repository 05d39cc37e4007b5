"""Tokens that let one device in, once.

Pure: who has used a token already is in the database, and one statement there (`UPDATE … WHERE used_by IS NULL`)
decides between fifty requests at once.
"""

from __future__ import annotations

import base64
import hmac
from dataclasses import dataclass

from shared.enrolment import Token
from shared.errors import RefusedError
from shared.ids import Digest, sha256

SECRET_BYTES = 32

LIFETIME = 3600.0
"""Seconds that a token is good for unless said otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What the coordinator keeps of a token: nothing that would open the door again."""

    id: str
    secret_sha256: Digest
    expires: float
    key_sha256: str = ""
    """The only key that it opens the door for; empty for whichever comes first."""


def mint(
    *, identifier: str, secret: bytes, url: str, ca_sha256: str, at: float, lifetime: float = LIFETIME
) -> tuple[Token, Grant]:
    """Make a token for the operator and its record for the database.

    Args:
        identifier: a fresh name of the record.
        secret: `SECRET_BYTES` bytes of `secrets.token_bytes`.
        url: where the device finds the API.
        ca_sha256: `Authority.fingerprint`.
        at: Unix seconds.
        lifetime: seconds.

    Raises:
        ValueError: the secret is too short.
    """
    if len(secret) < SECRET_BYTES:
        raise ValueError(f"a token's secret has {SECRET_BYTES} bytes")
    text = base64.urlsafe_b64encode(secret).decode()
    expires = at + lifetime
    token = Token(id=identifier, secret=text, ca_sha256=ca_sha256, url=url, expires=int(expires))
    return token, Grant(id=identifier, secret_sha256=sha256(text.encode()), expires=expires)


def check(token: Token, grant: Grant | None, *, at: float, key_sha256: str = "") -> None:
    """Refuse an unknown, wrong or expired token, each in the same words: a guess learns nothing.

    Args:
        token: as the device sent it.
        grant: the record under `token.id`, or None.
        at: Unix seconds; the record's expiry counts, not the token's.
        key_sha256: SHA-256 of the key that asks (DER, SubjectPublicKeyInfo).

    Raises:
        RefusedError: as said.
    """
    # compared even without a record, so that the time taken does not say which identifiers exist
    expected = grant.secret_sha256 if grant else "0" * 64
    right = hmac.compare_digest(sha256(token.secret.encode()), expected)
    if grant is None or grant.id != token.id or not right or at >= grant.expires:
        raise RefusedError("the enrolment token is unknown, used or expired", hint="Have a new token minted.")
    if grant.key_sha256 and grant.key_sha256 != key_sha256:
        raise RefusedError(
            "the enrolment token is for another key",
            hint="`hinterland-agent key` prints this device's; have a token minted for it.",
        )
