"""Tokens of an OpenID Connect issuer: whom they name, and every reason to refuse one.

What an attacker controls is the token, so nothing in it chooses how it is checked: algorithms are ours, the key is
the issuer's own under the token's `kid`, and keys that a token brings along are a reason to refuse it (RFC 8725).
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from cloud.access.principal import EVERY_FLEET, Principal, Role, UnauthenticatedError
from shared.clock import Clock
from shared.errors import HinterlandError, RefusedError, TransportError

MAX_TOKEN = 16 << 10
"""Characters; tokens with hundreds of groups have a few thousand."""

MAX_KEYS = 256 << 10
"""Bytes of an issuer's key set or description."""

MAX_NAME = 64
"""Characters of a person's name: what the audit log keeps of an actor. Longer ones are refused, never cut, for two
people may share their beginning."""

LEEWAY_S = 60
"""Seconds that clocks may differ by."""

KEEP_S = 3600.0
"""Seconds after which the issuer's keys are fetched again."""

ASK_S = 10.0
"""Least seconds between two fetches: a flood of tokens with unknown keys must not become a flood at the issuer."""

ASYMMETRIC = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"}
)
"""Never HS*: a verifier that takes them can be talked into using a public key as a shared secret. Never none."""

_EMBEDDED = ("jwk", "jku", "x5u", "x5c", "crit", "b64", "zip")
HINT = "Get a fresh token of this coordinator's issuer."


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """Who vouches for people, and how its claims are read."""

    url: str
    """As it stands in `iss`; its description is at `/.well-known/openid-configuration`."""

    audience: str
    keys_url: str = ""
    """Where its keys are; what the description says when empty."""

    ca: str = ""
    """PEM file of the authority of the issuer's own certificate; the system's when empty."""

    algorithms: Sequence[str] = ("RS256", "ES256", "EdDSA")
    name_claim: str = "sub"
    roles_claim: str = "roles"
    tenant_claim: str = "tenant"
    fleets_claim: str = "fleets"
    """A list of fleets; every fleet of the tenant when the token has no such claim."""

    def __post_init__(self) -> None:
        """Refuse what would make the checks below worthless.

        Raises:
            RefusedError: no HTTPS, no audience, or an algorithm that is not asymmetric.
        """
        if not _private(self.url) or (self.keys_url and not _private(self.keys_url)):
            raise RefusedError("keys over plain HTTP would be anybody's", hint="Give the issuer's https address.")
        if not self.audience:
            raise RefusedError("tokens without an audience would be anybody's", hint="Set HINTERLAND_ACCESS_AUDIENCE.")
        weak = sorted(set(self.algorithms) - ASYMMETRIC)
        if weak or not self.algorithms:
            raise RefusedError(f"{weak[:1] or 'nothing'} is no algorithm for an issuer", hint="RS256, ES256 or EdDSA.")


class IssuerKeys:
    """The issuer's public keys, fetched when they are needed; safe to share between threads."""

    def __init__(self, issuer: Issuer, *, clock: Clock, transport: httpx.BaseTransport | None = None) -> None:
        self._issuer = issuer
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: KeySet | None = None
        self._fetched = self._asked = float("-inf")
        self._http = httpx.Client(
            timeout=5.0,
            follow_redirects=False,
            trust_env=False,
            transport=transport,
            verify=ssl.create_default_context(cafile=issuer.ca or None),
        )

    def with_key(self, kid: str) -> KeySet:
        """The keys, fetched again when they are old or lack `kid`.

        Raises:
            UnauthenticatedError: the issuer has no such key.
            TransportError: it does not answer and nothing is known of it.
        """
        with self._lock:
            now = self._clock.monotonic()
            if self._keys is None or now - self._fetched > KEEP_S or not _has(self._keys, kid):
                self._refresh(now)
            if self._keys is None:
                raise TransportError("the issuer of tokens does not answer", hint="Try again, or use an API key.")
            if not _has(self._keys, kid):
                raise UnauthenticatedError("this token is signed by a key that its issuer does not have", hint=HINT)
            return self._keys

    def _refresh(self, now: float) -> None:
        if now - self._asked < ASK_S:
            return
        self._asked = now
        try:
            where = self._issuer.keys_url or self._describe()
            self._keys = KeySet.import_key_set(self._get(where))
            self._fetched = now
        except (HinterlandError, httpx.HTTPError, JoseError, ValueError, TypeError, KeyError):
            return  # older keys go on; without any, the caller is told

    def _describe(self) -> str:
        told = self._get(self._issuer.url.rstrip("/") + "/.well-known/openid-configuration")
        if told.get("issuer") != self._issuer.url:
            raise RefusedError("the issuer's description is about another issuer")
        where = str(told["jwks_uri"])
        if not _private(where):
            raise RefusedError("the issuer's keys are not at an https address")
        return where

    def _get(self, url: str) -> Any:
        with self._http.stream("GET", url) as answer:
            answer.raise_for_status()
            data = bytearray()
            for piece in answer.iter_bytes():
                data += piece
                if len(data) > MAX_KEYS:
                    raise RefusedError("the issuer's answer is too long")
        return msgspec.json.decode(bytes(data), type=dict[str, Any])


class TokenDesk:
    """Proves tokens of one issuer for one tenant."""

    def __init__(self, issuer: Issuer, keys: IssuerKeys, *, clock: Clock, tenant: str) -> None:
        self._issuer = issuer
        self._keys = keys
        self._clock = clock
        self._tenant = tenant

    def principal(self, token: str) -> Principal:
        """Whom a token names; what it may do is the policy's business.

        Raises:
            UnauthenticatedError: anything but a valid token for us; the token itself is never repeated.
            TransportError: the issuer cannot be asked.
        """
        # (1) a bounded token whose header asks for nothing unusual
        header = _header(token)
        if any(name in header for name in _EMBEDDED):
            raise UnauthenticatedError("this token brings its own keys or rules", hint=HINT)
        kid = header.get("kid")
        if not isinstance(kid, str) or not kid or header.get("alg") not in self._issuer.algorithms:
            raise UnauthenticatedError("this token names no key, or an algorithm that is not taken here", hint=HINT)
        # (2) the signature, by the issuer's key of that name
        try:
            claims = jwt.decode(token, self._keys.with_key(kid), algorithms=list(self._issuer.algorithms)).claims
            # (3) from our issuer, for us, now
            self._check(claims)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise UnauthenticatedError(f"this token is not valid: {_kind(error)}", hint=HINT) from None
        # (4) for this tenant
        if claims.get(self._issuer.tenant_claim) != self._tenant:
            raise UnauthenticatedError("this token is for another tenant", hint=HINT)
        return self._named(claims)

    def _check(self, claims: Mapping[str, Any]) -> None:
        now = int(self._clock.now())
        registry = jwt.JWTClaimsRegistry(
            now=now,
            leeway=LEEWAY_S,
            iss={"essential": True, "value": self._issuer.url},
            aud={"essential": True, "value": self._issuer.audience},
            exp={"essential": True},
        )
        registry.validate(dict(claims))
        audiences = claims["aud"]
        if isinstance(audiences, list) and len(audiences) > 1 and claims.get("azp") not in audiences:
            raise ValueError("a token for several audiences names no authorised party")

    def _named(self, claims: Mapping[str, Any]) -> Principal:
        name = claims.get(self._issuer.name_claim)
        roles, fleets = claims.get(self._issuer.roles_claim, []), claims.get(self._issuer.fleets_claim, [EVERY_FLEET])
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or not name.isprintable():
            raise UnauthenticatedError("this token names nobody", hint=HINT)
        if not _texts(roles) or not _texts(fleets):
            raise UnauthenticatedError("this token's roles or fleets are no lists of names", hint=HINT)
        # a person of the issuer is never taken for a key of ours of the same name
        return Principal(f"oidc:{name}", self._tenant, tuple(r for r in roles if r in set(Role)), tuple(fleets))


def looks_like_token(text: str) -> bool:
    """Whether this is a JWS in its compact form rather than an API key."""
    return text.count(".") == 2


def _private(url: str) -> bool:
    """Whether nobody on the way can answer in the place of `url`: TLS, or this very machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost"))


def _header(token: str) -> Mapping[str, Any]:
    if len(token) > MAX_TOKEN:
        raise UnauthenticatedError("this token is too long", hint=HINT)
    try:
        return dict(jws.extract_compact(token.encode()).headers())
    except (JoseError, ValueError, TypeError, KeyError, RecursionError):
        raise UnauthenticatedError("this is no token", hint=HINT) from None


def _has(keys: KeySet, kid: str) -> bool:
    return any(key.kid == kid for key in keys.keys)


def _kind(error: Exception) -> str:
    """What is wrong in a few words of the library's, without anything of the token's."""
    return getattr(error, "error", "") or type(error).__name__


def _texts(value: object) -> bool:
    return isinstance(value, list) and len(value) <= 200 and all(isinstance(each, str) for each in value)
