"""Every way to be somebody else with a token, beside the honest token that is accepted."""

import base64
import hashlib
import hmac
import json

import pytest
from joserfc.jwk import RSAKey

from cloud.access.oidc import ASK_S, KEEP_S, LEEWAY_S, Issuer, IssuerKeys, TokenDesk
from cloud.access.principal import UnauthenticatedError
from shared.clock import VirtualClock
from shared.errors import RefusedError, TransportError
from tests.issuer import LocalIssuer

# RFC 9864 renames the algorithm, and issuers go on saying EdDSA.
pytestmark = pytest.mark.filterwarnings("ignore:EdDSA is deprecated")


@pytest.fixture(scope="module")
def theirs():
    issuer = LocalIssuer()
    yield issuer
    issuer.close()


@pytest.fixture
def issuer():
    made = LocalIssuer()
    yield made
    made.close()


@pytest.fixture
def clock():
    return VirtualClock()


def desk_for(issuer, clock, tenant="acme"):
    known = Issuer(url=issuer.url, audience=issuer.audience)
    return TokenDesk(known, IssuerKeys(known, clock=clock), clock=clock, tenant=tenant)


def part(document):
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


def forged(header, claims, sign=lambda data: b""):
    data = f"{part(header)}.{part(claims)}"
    return f"{data}.{base64.urlsafe_b64encode(sign(data.encode())).rstrip(b'=').decode()}"


@pytest.mark.parametrize("alg", ["RS256", "ES256", "EdDSA"])
def test_an_honest_token_names_its_person(theirs, clock, alg):
    token = theirs.token(at=clock.now(), alg=alg, roles=["operator", "king"], fleets=["lab"])
    found = desk_for(theirs, clock).principal(token)
    assert (found.name, found.tenant, found.roles, found.fleets) == ("oidc:eve", "acme", ("operator",), ("lab",))


def hs256(issuer, at, secret):
    header = {"alg": "HS256", "kid": "RS256-1", "typ": "JWT"}
    return forged(header, issuer.claims(at=at), lambda data: hmac.digest(secret, data, hashlib.sha256))


def mallory(issuer, at, **header):
    """A token by a key of Mallory's, under the issuer's key id."""
    key = RSAKey.generate_key(2048, {"kid": "RS256-1"})
    honest, issuer.keys["RS256"] = issuer.keys["RS256"], key
    try:
        return issuer.token(
            at=at, header={**header, **({"jwk": key.as_dict(private=False)} if "jwk" in header else {})}
        )
    finally:
        issuer.keys["RS256"] = honest


def altered(issuer, at, **changes):
    head, _, signature = issuer.token(at=at).split(".")
    return f"{head}.{part(issuer.claims(at=at, **changes))}.{signature}"


ATTACKS = {
    "alg none": lambda i, t: forged({"alg": "none", "kid": "RS256-1"}, i.claims(at=t)),
    "alg None": lambda i, t: forged({"alg": "None", "kid": "RS256-1"}, i.claims(at=t)),
    "alg missing": lambda i, t: forged({"kid": "RS256-1"}, i.claims(at=t)),
    "alg a list": lambda i, t: forged({"alg": ["RS256"], "kid": "RS256-1"}, i.claims(at=t)),
    "public key as secret, PEM": lambda i, t: hs256(i, t, i.keys["RS256"].as_pem(private=False)),
    "public key as secret, DER": lambda i, t: hs256(i, t, i.keys["RS256"].as_der(private=False)),
    "public key as secret, JSON": lambda i, t: hs256(i, t, json.dumps(i.keys["RS256"].as_dict(private=False)).encode()),
    "empty secret": lambda i, t: hs256(i, t, b""),
    "another key": mallory,
    "another key, embedded": lambda i, t: mallory(i, t, jwk=True),
    "another key, by address": lambda i, t: mallory(i, t, jku="https://mallory.example/keys"),
    "another key, by certificate address": lambda i, t: mallory(i, t, x5u="https://mallory.example/pem"),
    "another key, by certificate": lambda i, t: mallory(i, t, x5c=["MIIB"]),
    "critical extension": lambda i, t: forged({"alg": "RS256", "kid": "RS256-1", "crit": ["exp"]}, i.claims(at=t)),
    "claims altered": lambda i, t: altered(i, t, roles=["admin"]),
    "algorithm of another key type": lambda i, t: i.token(at=t, alg="ES256", header={"kid": "RS256-1"}),
    "no kid": lambda i, t: i.token(at=t, header={"kid": None}),
    "kid of nobody": lambda i, t: i.token(at=t, header={"kid": "x"}),
    "kid a path": lambda i, t: i.token(at=t, header={"kid": "../../dev/null"}),
    "kid a number": lambda i, t: forged({"alg": "RS256", "kid": 1}, i.claims(at=t)),
    "for another": lambda i, t: i.token(at=t, aud="other"),
    "for many, none named": lambda i, t: i.token(at=t, aud=["hinterland", "other"]),
    "for many, a stranger named": lambda i, t: i.token(at=t, aud=["hinterland", "other"], azp="mallory"),
    "for nobody": lambda i, t: i.token(at=t, aud=None),
    "of another issuer": lambda i, t: i.token(at=t, iss="https://mallory.example"),
    "of an issuer with a slash more": lambda i, t: i.token(at=t, iss=i.url + "/"),
    "of nobody": lambda i, t: i.token(at=t, iss=None),
    "expired": lambda i, t: i.token(at=t, exp=int(t) - LEEWAY_S - 1),
    "without an end": lambda i, t: i.token(at=t, exp=None),
    "end is text": lambda i, t: i.token(at=t, exp="tomorrow"),
    "not yet": lambda i, t: i.token(at=t, nbf=int(t) + LEEWAY_S + 5),
    "of the future": lambda i, t: i.token(at=t, iat=int(t) + LEEWAY_S + 5),
    "another tenant": lambda i, t: i.token(at=t, tenant="zeta"),
    "no tenant": lambda i, t: i.token(at=t, tenant=None),
    "tenants as a list": lambda i, t: i.token(at=t, tenant=["acme", "zeta"]),
    "no name": lambda i, t: i.token(at=t, sub=None),
    "an empty name": lambda i, t: i.token(at=t, sub=""),
    "a name of two lines": lambda i, t: i.token(at=t, sub="eve\noperator:boss"),
    "a name without end": lambda i, t: i.token(at=t, sub="e" * 5_000),
    "roles as text": lambda i, t: i.token(at=t, roles="admin"),
    "fleets as text": lambda i, t: i.token(at=t, fleets="*"),
    "oversized": lambda i, t: i.token(at=t, groups=["g" * 64] * 500),
    "cut": lambda i, t: i.token(at=t)[:-5],
    "no JSON": lambda i, t: "a.b.c",
    "nested": lambda i, t: forged(json.loads("[" * 50 + "]" * 50), {}),
    "empty parts": lambda i, t: "..",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_and_the_token_is_not_repeated(theirs, clock, name):
    desk, token = desk_for(theirs, clock), ATTACKS[name](theirs, clock.now())
    with pytest.raises(UnauthenticatedError) as caught:
        desk.principal(token)
    said = f"{caught.value} {caught.value.hint}"
    assert not any(len(piece) > 8 and piece in said for piece in token.split("."))
    assert desk.principal(theirs.token(at=clock.now())).name == "oidc:eve"


def test_within_the_leeway_and_for_us_among_others_is_honest(theirs, clock):
    desk, at = desk_for(theirs, clock), int(clock.now())
    assert desk.principal(theirs.token(at=at, exp=at - LEEWAY_S + 5)).fleets == ("*",)
    assert desk.principal(theirs.token(at=at, aud=["hinterland", "other"], azp="hinterland"))
    assert desk.principal(theirs.token(at=at, nbf=at + LEEWAY_S - 5))


def test_new_keys_are_found_and_withdrawn_ones_forgotten(issuer, clock):
    desk = desk_for(issuer, clock)
    old = issuer.token(at=clock.now())
    desk.principal(old)
    assert issuer.asked == 1
    issuer.rotate()
    clock.advance(ASK_S)
    assert desk.principal(issuer.token(at=clock.now())).name == "oidc:eve"
    assert issuer.asked == 2
    with pytest.raises(UnauthenticatedError):
        desk.principal(old)


def test_a_key_that_was_withdrawn_is_out_within_the_hour(issuer, clock):
    desk, at = desk_for(issuer, clock), clock.now()
    old = issuer.token(at=at, exp=int(at + 2 * KEEP_S))
    desk.principal(old)
    issuer.rotate()
    clock.advance(KEEP_S + 1)
    with pytest.raises(UnauthenticatedError):
        desk.principal(old)


def test_unknown_keys_do_not_flood_the_issuer(issuer, clock):
    desk = desk_for(issuer, clock)
    for n in range(50):
        with pytest.raises(UnauthenticatedError):
            desk.principal(issuer.token(at=clock.now(), header={"kid": f"x{n}"}))
    assert issuer.asked == 1


def test_an_issuer_that_is_away_leaves_its_keys_in_force_and_strangers_outside(issuer, clock):
    desk, fresh = desk_for(issuer, clock), desk_for(issuer, clock)
    desk.principal(issuer.token(at=clock.now()))
    issuer.down = True
    clock.advance(KEEP_S + 1)
    assert desk.principal(issuer.token(at=clock.now())).name == "oidc:eve"
    with pytest.raises(TransportError):
        fresh.principal(issuer.token(at=clock.now()))


@pytest.mark.parametrize(
    "changes",
    [
        {"audience": ""},
        {"algorithms": ("none",)},
        {"algorithms": ("RS256", "HS256")},
        {"algorithms": ()},
        {"url": "http://issuer.example"},
        {"keys_url": "http://issuer.example/keys"},
    ],
)
def test_settings_that_would_make_all_of_it_worthless_are_refused(changes):
    with pytest.raises(RefusedError):
        Issuer(**({"url": "https://issuer.example", "audience": "hinterland"} | changes))
