"""Two tenants with one issuer, and two fleets in one tenant: every route against everybody who must not pass.

Routes come from the API's own description. A new one is attacked as soon as it has a row in `CALLS`, and until then
the first test below fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from cloud.api.app import check_declared
from cloud.api.bodies import Routes
from cloud.api.services import Stranger
from edge.identity.keys import certificate_request
from shared.clock import VirtualClock
from shared.ids import sha256
from tests.issuer import LocalIssuer
from tests.tenants import DATA, LINE, OTHER, SCHEMA, Tenant, build


@dataclass(frozen=True)
class Call:
    """One honest use of a route in tenant a, by somebody of fleet `lab` where the fleet matters."""

    path: str
    role: str = "viewer"
    body: Any = None
    fleet: str = "lab"
    """Where the caller belongs; `*` for routes that concern the whole tenant."""

    status: int = 200
    open: bool = False
    """For strangers: a device has nothing to show yet."""

    shared: bool = False
    """Answers every viewer of the tenant, whatever the fleet; `secret-1` must not be in the answer."""


def enrol(tenant: Tenant) -> dict[str, str]:
    request = certificate_request(ec.generate_private_key(ec.SECP256R1()))
    issued = tenant.client(tenant.key("admin", "*")).request("POST", "/tokens", json={"fleet": "lab"}).json()
    return {"token": issued["token"], "csr": request}


def verdict(tenant: Tenant) -> dict[str, str]:
    found = tenant.client(tenant.key("viewer", "*")).request("GET", "/releases/street-1").json()
    return {"digest": found["content"]}


CALLS: dict[tuple[str, str], Call] = {
    ("GET", "/v1/ca"): Call("/ca", open=True),
    ("GET", "/v1/health"): Call("/health", open=True),
    ("POST", "/v1/enrol"): Call("/enrol", open=True, body=enrol),
    ("POST", "/v1/renew"): Call(
        "/renew", open=True, body={"certificate": "x", "csr": "x", "signature": ""}, status=400
    ),
    ("POST", "/v1/rescue"): Call(
        "/rescue", open=True, body={"certificate": "x", "csr": "x", "signature": "", "at": 1.0}, status=400
    ),
    ("POST", "/v1/tokens"): Call("/tokens", "operator", {"fleet": "lab", "device": "fresh-1"}, status=201),
    ("GET", "/v1/whoami"): Call("/whoami", shared=True),
    ("GET", "/v1/keys"): Call("/keys", "admin", fleet="*"),
    ("POST", "/v1/keys"): Call("/keys", "admin", {"name": "fresh", "roles": ["viewer"]}, fleet="*", status=201),
    ("POST", "/v1/keys/{name}/revoke"): Call("/keys/leaver/revoke", "admin", {}, fleet="*"),
    ("GET", "/v1/devices"): Call("/devices", shared=True),
    ("GET", "/v1/devices/{device}"): Call("/devices/secret-1"),
    ("GET", "/v1/devices/{device}/why"): Call("/devices/secret-1/why"),
    ("POST", "/v1/devices/{device}/revoke"): Call("/devices/secret-1/revoke", "operator", {"reason": "x"}),
    ("GET", "/v1/quarantine"): Call("/quarantine", shared=True),
    ("POST", "/v1/quarantine/{device}/release"): Call("/quarantine/secret-1/release", "operator", {"reason": "x"}),
    ("GET", "/v1/privacy"): Call("/privacy", shared=True),
    ("PUT", "/v1/privacy/{population}"): Call(
        "/privacy/street", "release-manager", {"epsilon": 8.0, "delta": 1e-5, "reason": "x"}, fleet="*"
    ),
    ("POST", "/v1/privacy/{population}/approve"): Call(
        "/privacy/street/approve", "release-manager", {"digest": "0" * 64, "reason": "x"}, fleet="*", status=409
    ),
    ("POST", "/v1/privacy/{population}/reject"): Call(
        "/privacy/street/reject", "release-manager", {"digest": "0" * 64, "reason": "x"}, fleet="*", status=409
    ),
    ("GET", "/v1/fleets"): Call("/fleets", shared=True),
    ("GET", "/v1/fleets/{fleet}/distribution"): Call("/fleets/lab/distribution"),
    ("PUT", "/v1/fleets/{fleet}/distribution"): Call("/fleets/lab/distribution", "operator", {"rate_mib_s": 2.0}),
    ("GET", "/v1/fleets/{fleet}/masks"): Call("/fleets/lab/masks"),
    ("PUT", "/v1/fleets/{fleet}/masks"): Call("/fleets/lab/masks", "operator", {"devices": {"*": {"*": []}}}),
    ("GET", "/v1/models"): Call("/models", shared=True),
    ("GET", "/v1/models/{name}"): Call("/models/street", shared=True),
    ("PUT", "/v1/models/{name}"): Call("/models/street", "release-manager", LINE | {"rounds": 9}, fleet="*"),
    ("POST", "/v1/runs"): Call("/runs", "operator", {"model": "fresh", "devices": ["secret-1"]}, status=201),
    ("GET", "/v1/runs"): Call("/runs", shared=True),
    ("GET", "/v1/runs/{run}"): Call("/runs/street-run-1"),
    ("GET", "/v1/runs/{run}/progress"): Call("/runs/street-run-1/progress"),
    ("GET", "/v1/jobs"): Call("/jobs", shared=True),
    ("GET", "/v1/jobs/{job}"): Call("/jobs/street-1-evaluation-1", shared=True),
    ("GET", "/v1/jobs/{job}/log"): Call("/jobs/street-1-evaluation-1/log", "operator", fleet="*"),
    ("POST", "/v1/jobs/{job}/cancel"): Call(
        "/jobs/street-1-evaluation-1/cancel", "operator", {"reason": "x"}, fleet="*"
    ),
    ("POST", "/v1/evaluations"): Call(
        "/evaluations", "operator", {"release": "street-1", "data": "clinic"}, fleet="*", status=201
    ),
    ("PUT", "/v1/blobs/{digest}"): Call(f"/blobs/{sha256(OTHER)}", "release-manager", OTHER, fleet="*", status=204),
    ("POST", "/v1/releases"): Call(
        "/releases",
        "release-manager",
        {
            "model": "street",
            "schema": SCHEMA,
            "files": [{"name": "cpu.onnx", "digest": sha256(DATA), "precision": "fp32"}],
        },
        fleet="*",
        status=201,
    ),
    ("GET", "/v1/releases"): Call("/releases", shared=True),
    ("GET", "/v1/releases/{release}"): Call("/releases/street-1", shared=True),
    ("GET", "/v1/releases/{release}/attestations"): Call("/releases/street-1/attestations", shared=True),
    ("POST", "/v1/releases/{release}/approve"): Call("/releases/street-1/approve", "release-manager", verdict, "*"),
    ("POST", "/v1/releases/{release}/reject"): Call("/releases/street-1/reject", "release-manager", verdict, "*"),
    ("POST", "/v1/rollouts"): Call("/rollouts", "operator", {"release": "street-1", "fleet": "lab"}, status=201),
    ("POST", "/v1/rollouts/apply"): Call(
        "/rollouts/apply?dry_run=true", "operator", {"release": "street-1", "fleet": "lab", "kind": "rollout"}
    ),
    ("POST", "/v1/rollouts/{rollout}/pause"): Call("/rollouts/street-1-lab/pause", "operator", {"reason": "r"}),
    ("POST", "/v1/rollouts/{rollout}/resume"): Call("/rollouts/street-1-lab/resume", "operator", {"reason": "r"}),
    ("POST", "/v1/rollouts/{rollout}/abort"): Call("/rollouts/street-1-lab/abort", "operator", {"reason": "r"}),
    ("POST", "/v1/rollouts/{rollout}/rollback"): Call("/rollouts/street-1-lab/rollback", "operator", {"reason": "r"}),
    ("POST", "/v1/rollouts/{rollout}/approve"): Call(
        "/rollouts/street-1-lab/approve", "release-manager", {"digest": "0" * 64}, fleet="*", status=409
    ),
    ("POST", "/v1/rollouts/{rollout}/reject"): Call(
        "/rollouts/street-1-lab/reject", "release-manager", {"digest": "0" * 64}, fleet="*", status=409
    ),
    ("PUT", "/v1/devices/{device}/labels"): Call(
        "/devices/secret-1/labels", "operator", {"labels": {"site": "hamburg"}}
    ),
    ("GET", "/v1/rollouts"): Call("/rollouts", shared=True),
    ("GET", "/v1/rollouts/{rollout}"): Call("/rollouts/street-1-lab"),
    ("GET", "/v1/rollouts/{rollout}/devices"): Call("/rollouts/street-1-lab/devices"),
    ("GET", "/v1/drift"): Call("/drift", shared=True),
    ("GET", "/v1/telemetry/summary"): Call("/telemetry/summary", shared=True),
    ("GET", "/v1/events"): Call("/events", shared=True),
    ("GET", "/v1/metrics"): Call("/metrics", "viewer", fleet="*"),
    ("GET", "/v1/audit"): Call("/audit", "release-manager", fleet="*"),
    ("GET", "/v1/audit/anchors"): Call("/audit/anchors", "release-manager", fleet="*"),
}


@pytest.fixture(scope="module")
def issuer():
    made = LocalIssuer()
    yield made
    made.close()


@pytest.fixture(scope="module")
def fresh(tmp_path_factory, issuer):
    """Make a coordinator of a tenant anew."""
    made, numbers = [], iter(range(1000))

    def make(name):
        place = tmp_path_factory.mktemp("tenants") / f"{name}-{next(numbers)}"
        made.append(build(place, name, issuer, VirtualClock()))
        return made[-1]

    yield make
    for tenant in made:
        tenant.database.close()


@pytest.fixture(scope="module")
def a(fresh):
    return fresh("alpha")


@pytest.fixture(scope="module")
def b(fresh):
    return fresh("beta")


def described(tenant):
    paths = tenant.app.openapi()["paths"]
    return {(method.upper(), path) for path, operations in paths.items() for method in operations}


def send(tenant, method, call, credential, *, body=None):
    content = call.body(tenant) if callable(call.body) else call.body
    sent = {"content": content} if isinstance(content, bytes) else {"json": content}
    return tenant.client(credential).request(method, call.path, **(sent if content is not None else {}))


def test_every_route_of_the_description_has_a_call_here(a):
    assert described(a) == set(CALLS)


def test_every_route_declares_its_action_or_that_it_is_open(a):
    for path, operations in a.app.openapi()["paths"].items():
        for method, operation in operations.items():
            call = CALLS[method.upper(), path]
            assert ("x-action" in operation) is not call.open, (method, path)
            assert ("security" in operation) is not call.open, (method, path)


def test_a_route_that_declares_nothing_is_not_served():
    router = Routes()
    router.get("/open", dependencies=[Stranger])(lambda: None)
    check_declared(router.routes)
    router.get("/forgotten")(lambda: None)
    with pytest.raises(TypeError, match="/forgotten declares no action"):
        check_declared(router.routes)


GUARDED = [route for route, call in CALLS.items() if not call.open]
IDS = [f"{method} {path}" for method, path in GUARDED]


@pytest.mark.parametrize("route", GUARDED, ids=IDS)
def test_the_honest_control_passes(a, fresh, route):
    method, call = route[0], CALLS[route]
    tenant = a if method == "GET" else fresh("alpha")
    answer = send(tenant, method, call, tenant.key(call.role, call.fleet))
    assert answer.status_code == call.status, answer.text


@pytest.mark.parametrize("route", GUARDED, ids=IDS)
def test_no_stranger_passes_and_nothing_changes(a, b, issuer, route):
    method, call = route[0], CALLS[route]
    a.key("admin", "*")
    b.key("admin", "*")
    at = a.clock.now()
    strangers = {
        "nobody": "",
        "a key of tenant b": b.key("admin", "*"),
        "a token of tenant b": issuer.token(at=at, tenant="beta", roles=["admin"]),
        "a token without a tenant": issuer.token(at=at, tenant=None, roles=["admin"]),
    }
    body = call.body(a) if callable(call.body) else None
    before = a.dump()
    for who, credential in strangers.items():
        answer = send(a, method, replaced(call, body), credential)
        assert answer.status_code == 401, (who, answer.text)
    assert without_refusals(a.dump()) == without_refusals(before)


@pytest.mark.parametrize("route", GUARDED, ids=IDS)
def test_a_token_of_the_own_tenant_passes_as_a_key_does(a, fresh, issuer, route):
    method, call = route[0], CALLS[route]
    tenant = a if method == "GET" else fresh("alpha")
    fleets = None if call.fleet == "*" else [call.fleet]
    token = issuer.token(at=tenant.clock.now(), tenant="alpha", roles=[call.role], fleets=fleets)
    assert send(tenant, method, call, token).status_code == call.status


@pytest.mark.parametrize("route", GUARDED, ids=IDS)
def test_another_fleet_of_the_tenant_sees_and_changes_nothing(a, issuer, route):
    method, call = route[0], CALLS[route]
    body = call.body(a) if callable(call.body) else None
    token = issuer.token(at=a.clock.now(), tenant="alpha", roles=["admin"], fleets=["wards"])
    a.key("admin", "wards")
    before = a.dump()
    for credential in (a.key("admin", "wards"), token):
        answer = send(a, method, replaced(call, body), credential)
        if call.shared:
            assert answer.status_code == 200, answer.text
            assert "secret-1" not in answer.text
        else:
            assert answer.status_code in (403, 404), answer.text
    assert a.dump() == before


CHANGING = [route for route in GUARDED if CALLS[route].role != "viewer"]


@pytest.mark.parametrize("route", CHANGING, ids=[f"{method} {path}" for method, path in CHANGING])
def test_a_role_below_the_one_it_takes_changes_nothing(a, issuer, route):
    method, call = route[0], CALLS[route]
    body = call.body(a) if callable(call.body) else None
    ranks = ["viewer", "operator", "release-manager", "admin"]
    lower = ranks[: ranks.index(call.role)]
    credentials = [a.key(role, "*") for role in lower]
    credentials += [issuer.token(at=a.clock.now(), tenant="alpha", roles=[role]) for role in lower]
    before = a.dump()
    for credential in credentials:
        answer = send(a, method, replaced(call, body), credential)
        assert answer.status_code == 403, answer.text
    assert a.dump() == before


@pytest.mark.parametrize("route", [route for route in CALLS if CALLS[route].open])
def test_open_routes_answer_strangers(a, fresh, route):
    tenant = fresh("alpha") if route[1] == "/v1/enrol" else a
    assert send(tenant, route[0], CALLS[route], "").status_code == CALLS[route].status


def test_a_token_of_another_tenants_device_opens_nothing(a, b):
    with_b = enrol(b)
    before = a.dump()
    assert a.client("").request("POST", "/enrol", json=with_b).status_code in (403, 409)
    assert a.dump() == before
    assert b.client("").request("POST", "/enrol", json=with_b).status_code == 200


def replaced(call, body):
    return call if body is None else Call(call.path, call.role, body, call.fleet, call.status)


def without_refusals(dump):
    """Refused credentials are counted in the log, one row a minute at most."""
    audit = [row for row in dump["audit"] if "access.refuse" not in row]
    assert len(dump["audit"]) - len(audit) <= 1
    return dump | {"audit": audit}
