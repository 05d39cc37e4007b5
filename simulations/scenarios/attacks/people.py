"""Family `people`: operators who want more than their role, and tokens that say more than their issuer did."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import msgspec
from joserfc.jwk import RSAKey

from simulations.scenarios.attacks.at_the_api import routes
from simulations.scenarios.attacks.ground import GUESTS, YARD, Ground
from simulations.scenarios.attacks.issuer import Issuer
from simulations.scenarios.attacks.row import Attack, Seen, Threat
from simulations.world.process import console_script


def attacks(ground: Ground) -> Iterator[Attack]:
    """Keys of two lesser roles, and forged tokens."""
    viewer = _key(ground, "watcher", "--role", "viewer")
    local = _key(ground, "neighbour", "--role", "operator", "--fleet", GUESTS)
    yield Attack(
        name="viewer-changes-things",
        threat=Threat.STRANGER,
        victim="coordinator",
        done="called every route that changes something with a viewer's key",
        control="the same key reads the devices",
        act=lambda: _viewer(ground, viewer),
    )
    yield Attack(
        name="operator-of-another-fleet",
        threat=Threat.STRANGER,
        victim="coordinator",
        done="asked for a token for a device of the fleet yard with an operator's key for the fleet guests",
        control="the same key gets a token for its own fleet",
        act=lambda: _neighbour(ground, local),
    )
    for name, done, token in _tokens(ground.issuer):
        yield Attack(
            name=name,
            threat=Threat.TENANT if "tenant" in name else Threat.JWT,
            victim="coordinator",
            done=done,
            control="an honest token of the issuer: let in",
            act=_showing(ground, token),
        )


def _key(ground: Ground, name: str, *options: str) -> str:
    argv = [*console_script("hinterland-coordinator"), "key", name, *options]
    argv += ["--dir", str(ground.world.layout.directory)]
    made = subprocess.run(argv, check=True, capture_output=True, text=True)  # noqa: S603  our own command
    key = made.stdout.strip().split()[-1]
    ground.secrets[f"API key of {name}"] = key
    return key


def _viewer(ground: Ground, key: str) -> Seen:
    writing = [(method, path) for method, path in routes(ground) if method != "GET"]
    with ground.http(key=key) as http:
        answers = [http.request(m, path.replace("{", "").replace("}", "-1"), content=b"{}") for m, path in writing]
        honest = http.get("/devices")
    closed = [each for each in answers if each.status_code == httpx.codes.FORBIDDEN]
    return Seen(
        refused=not any(each.is_success for each in answers) and len(closed) > 3,
        error=closed[0].text if closed else answers[0].text,
        observed=f"{len(closed)} of {len(answers)} answered 403, none did anything",
        accepted=honest.is_success,
    )


def _neighbour(ground: Ground, key: str) -> Seen:
    with ground.http(key=key) as http:
        answer = http.post("/tokens", content=msgspec.json.encode({"fleet": YARD, "device": "crossing-2"}))
        honest = http.post("/tokens", content=msgspec.json.encode({"fleet": GUESTS, "device": "crossing-2"}))
    return Seen(
        refused=400 <= answer.status_code < 500,
        error=answer.text,
        observed=f"status {answer.status_code}; the control's {honest.status_code}",
        accepted=honest.is_success,
    )


def _tokens(issuer: Issuer) -> Iterator[tuple[str, str, Callable[[], str]]]:
    mallory = RSAKey.generate_key(2048, {"kid": "issuer-1"})
    public, now = mallory.as_dict(private=False), int(time.time())
    yield "alg-none", "showed an unsigned token with alg none", lambda: _forged({"alg": "none"}, issuer.claims())
    yield "public-key-as-secret", "signed with HS256 and the issuer's public key as the secret", lambda: _hs256(issuer)
    yield "another-key", "signed with a key of its own under the issuer's key id", lambda: issuer.token(key=mallory)
    yield (
        "key-brought-along",
        "signed with a key of its own that the token brings along",
        lambda: issuer.token(key=mallory, header={"jwk": public}),
    )
    yield "wrong-kid", "named a key that the issuer does not have", lambda: issuer.token(header={"kid": "nobody"})
    yield "wrong-audience", "showed a token for another service", lambda: issuer.token(aud="elsewhere")
    yield "wrong-issuer", "showed a token that names another issuer", lambda: issuer.token(iss="https://other.example")
    yield (
        "expired-token",
        "showed a token that ended ten minutes ago",
        lambda: issuer.token(exp=now - 600, iat=now - 900),
    )
    yield "not-yet", "showed a token of tomorrow", lambda: issuer.token(nbf=now + 86_400)
    yield "altered-claims", "made itself an admin in a signed token", lambda: _altered(issuer)
    yield "token-of-another-tenant", "showed a good token of another tenant", lambda: issuer.token(tenant="rival")


def _part(document: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


def _forged(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    header = {"kid": "issuer-1", "typ": "JWT", **header}
    return f"{_part(header)}.{_part(claims)}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def _hs256(issuer: Issuer) -> str:
    signed = _forged({"alg": "HS256"}, issuer.claims(roles=["admin"])).rpartition(".")[0]
    tag = hmac.digest(issuer.key.as_pem(private=False), signed.encode(), hashlib.sha256)
    return f"{signed}.{base64.urlsafe_b64encode(tag).rstrip(b'=').decode()}"


def _altered(issuer: Issuer) -> str:
    head, _, signature = issuer.token().split(".")
    return f"{head}.{_part(issuer.claims(roles=['admin']))}.{signature}"


def _showing(ground: Ground, token: Callable[[], str]) -> Callable[[], Seen]:
    def act() -> Seen:
        with ground.http(key=token()) as http:
            answer = http.get("/devices")
        with ground.http(key=ground.issuer.token()) as http:
            honest = http.get("/devices")
        return Seen(
            refused=answer.status_code in (401, 403),
            error=answer.text,
            observed=f"status {answer.status_code}; the control's {honest.status_code}",
            accepted=honest.is_success,
        )

    return act
