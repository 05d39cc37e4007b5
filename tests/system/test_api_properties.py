"""Schemathesis reads the API's own description and asks whatever it allows, and much that it does not.

No answer may be a mistake of the coordinator's, and each must be what the description says.
"""

from __future__ import annotations

import threading
import time

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from shared.clock import VirtualClock
from simulations.world.ports import free_ports
from tests.issuer import LocalIssuer
from tests.tenants import build

pytestmark = [pytest.mark.system, pytest.mark.slow]

EXAMPLES = 100
"""Per operation, half of them against the rules of the description; about a minute in all."""

WANTED = {
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "ignored_auth",
}

load_all_checks()
KEPT = [check for check in CHECKS.get_all() if check.__name__ in WANTED]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A tenant's API on a real port, and its address."""
    issuer = LocalIssuer()
    tenant = build(tmp_path_factory.mktemp("properties") / "acme", "acme", issuer, VirtualClock())
    (port,) = free_ports(1)
    server = uvicorn.Server(uvicorn.Config(tenant.app, port=port, log_config=None, lifespan="off", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield tenant, f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()
    tenant.database.close()
    issuer.close()


def operations():
    """Paths and methods, for pytest to name: the description itself needs a coordinator."""
    from cloud.api.app import ROUTES
    from shared.api import PREFIX

    found = [
        (PREFIX + each.path, method) for module in ROUTES for each in module.router.routes for method in each.methods
    ]
    return sorted(found)


def test_all_checks_are_there():
    assert {check.__name__ for check in KEPT} == WANTED


@pytest.mark.parametrize(("path", "method"), operations(), ids=lambda value: value)
def test_answers_are_as_described_whatever_is_asked(served, path, method):
    tenant, url = served
    headers = {"Authorization": f"Bearer {tenant.key('admin', '*')}"}
    operation = schemathesis.openapi.from_dict(tenant.app.openapi())[path][method]
    modes = [operation.as_strategy(generation_mode=mode) for mode in GenerationMode]

    @seed(20260101)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=st.one_of(modes))
    def ask(case):
        case.call_and_validate(base_url=url, headers=headers, checks=KEPT)

    ask()
