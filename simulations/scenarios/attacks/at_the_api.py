"""Family `api`: strangers, old acquaintances, and bodies and names that are none, over HTTPS."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
import msgspec

from cloud.access.keys import new_key
from cloud.store.database import open_database, sqlite_url
from cloud.store.keys import ApiKeys
from shared.ids import sha256
from simulations.scenarios.attacks import models
from simulations.scenarios.attacks.ground import YARD, Ground
from simulations.scenarios.attacks.row import Attack, Seen, Threat
from simulations.world.process import console_script

OPEN = {"/v1/ca", "/v1/enrol", "/v1/renew", "/v1/rescue", "/v1/health"}
"""What a device calls before it has anything to show, and probes."""


def attacks(ground: Ground) -> Iterator[Attack]:
    """Every route, then single ones."""
    for name, done, key in _keys(ground):
        yield Attack(
            name=name,
            threat=Threat.STRANGER,
            victim="coordinator",
            done=done,
            control="the operator's own key: let in",
            act=_at_every_route(ground, key),
        )
    yield Attack(
        name="key-in-the-address",
        threat=Threat.STRANGER,
        victim="coordinator",
        done="sent a good key where logs would keep it: in the query, in a cookie, as a Basic credential",
        control="the operator's own key in its header: let in",
        act=lambda: _elsewhere(ground),
    )
    for name, done, call in _calls(ground):
        yield Attack(
            name=name,
            threat=Threat.STRANGER,
            victim="coordinator",
            done=done,
            control="the same call with an honest body and name: taken",
            act=_calling(ground, call),
        )


def _keys(ground: Ground) -> Iterator[tuple[str, str, Callable[[], str]]]:
    yield "no-key", "called every route without a key", lambda: ""
    yield "wrong-key", "called every route with a well-formed key of nobody", new_key
    yield "shortened-key", "called every route with the operator's key, one character short", lambda: ground.key[:-1]
    yield "revoked-key", "called every route with a key that was revoked", lambda: _revoked(ground)


def routes(ground: Ground) -> list[tuple[str, str]]:
    """(method, path) of every guarded route, as the coordinator itself lists them."""
    with ground.http(key=ground.key) as http:
        listed: Mapping[str, Any] = http.get("../openapi.json").json()["paths"]
    found = [(method.upper(), path) for path, methods in listed.items() for method in methods if path not in OPEN]
    return [(method, path.removeprefix("/v1")) for method, path in found]


def at_every_route(http: httpx.Client, listed: list[tuple[str, str]]) -> list[httpx.Response]:
    """Call each route with a plausible body."""
    return [
        http.request(method, path.replace("{", "").replace("}", "-1"), content=b"{}" if method != "GET" else None)
        for method, path in listed
    ]


def _at_every_route(ground: Ground, key: Callable[[], str]) -> Callable[[], Seen]:
    def act() -> Seen:
        listed = routes(ground)
        with ground.http(key=key() or None) as http:
            answers = at_every_route(http, listed)
        with ground.http(key=ground.key) as http:
            honest = at_every_route(http, [each for each in listed if each[0] == "GET"])
        let_in = [each for each in answers if each.status_code != httpx.codes.UNAUTHORIZED]
        return Seen(
            refused=not let_in and len(answers) > 10,
            error=answers[0].text,
            observed=f"{len(answers) - len(let_in)} of {len(answers)} routes answered 401",
            accepted=all(each.status_code in (200, 404) for each in honest),
        )

    return act


def _revoked(ground: Ground) -> str:
    """Make a key as the host does, see that it opens, and revoke it."""
    layout = ground.world.layout
    argv = [*console_script("hinterland-coordinator"), "key", "leaver", "--dir", str(layout.directory)]
    made = subprocess.run(argv, check=True, capture_output=True, text=True)  # noqa: S603  our own command
    key = made.stdout.strip().splitlines()[-1].split()[-1]
    ground.secrets["API key of leaver"] = key
    with ground.http(key=key) as http:
        http.get("/devices").raise_for_status()
    database = open_database(sqlite_url(layout.database))
    with database.write() as connection:
        ApiKeys(connection).revoke("leaver", at=1.0)
    database.close()
    return key


def _elsewhere(ground: Ground) -> Seen:
    key = ground.key
    with ground.http() as http:
        answers = [
            http.get("/devices", params={"key": key, "authorization": f"Bearer {key}", "access_token": key}),
            http.get("/devices", headers={"cookie": f"key={key}"}),
            http.get("/devices", auth=("operator", key)),
        ]
    with ground.http(key=key) as http:
        honest = http.get("/devices")
    return Seen(
        refused=all(each.status_code == httpx.codes.UNAUTHORIZED for each in answers),
        error=answers[0].text,
        observed=f"statuses {[each.status_code for each in answers]}",
        accepted=honest.status_code == httpx.codes.OK,
    )


Call = Callable[[httpx.Client, bool], httpx.Response]
"""(client, whether to be honest) → the answer."""


def _calls(ground: Ground) -> Iterator[tuple[str, str, Call]]:
    data = models.honest(11, ballast=0)
    digest = sha256(data)

    def body(http: httpx.Client, honest: bool, filler: bytes) -> httpx.Response:
        content = msgspec.json.encode({"fleet": YARD}) if honest else filler
        return http.post("/tokens", content=content)

    def token(http: httpx.Client, honest: bool, **fields: str) -> httpx.Response:
        return http.post("/tokens", content=msgspec.json.encode({"fleet": YARD, **({} if honest else fields)}))

    def blob(http: httpx.Client, honest: bool, name: str) -> httpx.Response:
        return http.put(f"/blobs/{digest if honest else name}", content=data)

    def release(http: httpx.Client, honest: bool, **fields: str) -> httpx.Response:
        http.put(f"/blobs/{digest}", content=data)
        file = {"name": "m.onnx", "digest": digest, "precision": "fp32"} | ({} if honest else fields)
        schema = msgspec.to_builtins(models.SCHEMA)
        return http.post(
            "/releases", content=msgspec.json.encode({"model": "named", "schema": schema, "files": [file]})
        )

    yield "body-too-large", "posted 2 MiB of JSON", lambda h, ok: body(h, ok, b'{"fleet":"' + b"a" * (2 << 20) + b'"}')
    yield "nested-body", "posted 100,000 nested brackets", lambda h, ok: body(h, ok, b"[" * 100_000)
    yield "body-of-noise", "posted bytes that are no text", lambda h, ok: body(h, ok, b"\xff\xfe" * 500)
    yield "another-digest", "uploaded a file under the digest of another", lambda h, ok: blob(h, ok, "0" * 64)
    yield "path-in-digest", "uploaded a file as ../../cli.toml", lambda h, ok: blob(h, ok, "..%2F..%2Fcli.toml")
    yield (
        "path-in-file-name",
        "imported a file called ../../keys/x.onnx",
        lambda h, ok: release(h, ok, name="../../keys/x.onnx"),
    )
    yield (
        "reserved-device",
        "asked for a token for a device called coordinator",
        lambda h, ok: token(h, ok, device="coordinator"),
    )
    yield (
        "path-in-device",
        "asked for a token for a device called ../root",
        lambda h, ok: token(h, ok, device="../root"),
    )
    yield "wildcard-device", "asked for a token for a device called +", lambda h, ok: token(h, ok, device="+")
    yield (
        "line-feed-device",
        "asked for a token for a device whose name is two lines of an access list",
        (lambda h, ok: token(h, ok, device="a\ntopic readwrite #")),
    )
    yield (
        "foreign-fleet",
        "asked for a token for a fleet that is not signed for here",
        lambda h, ok: token(h, ok, fleet="elsewhere"),
    )


def _calling(ground: Ground, call: Call) -> Callable[[], Seen]:
    def act() -> Seen:
        before = ground.world.layout.profile.read_bytes()
        with ground.http(key=ground.key) as http:
            answer, honest = call(http, False), call(http, True)
        return Seen(
            refused=400 <= answer.status_code < 500 and ground.world.layout.profile.read_bytes() == before,
            error=answer.text[:2000],
            observed=f"status {answer.status_code}; the control's {honest.status_code}",
            accepted=honest.is_success,
        )

    return act
