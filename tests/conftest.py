"""Parts and servers for the tests that want them; what a fixture needs is imported when a test asks for it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

import shared  # noqa: F401  first: it switches ONNX Runtime's telemetry off, which is read when that is imported

if TYPE_CHECKING:
    from cloud.devices.broker import Grant
    from simulations.broker import Broker
    from tests.real_broker import Certificates, Mosquitto
    from tests.real_postgres import Postgres
    from tests.soft_token import SoftToken
    from tests.update_world import UpdateWorld

# A busy machine is slow, which is no fault of the code. CI repeats the same examples; elsewhere new ones are tried.
settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("here"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")

PATIENCE_S = 120.0
"""How long what must come is waited for. Nothing that passes waits so long; a slow machine may need most of it."""

Until = Callable[..., Awaitable[None]]
Running = Callable[..., AbstractAsyncContextManager[None]]


@pytest.fixture(autouse=True)
def file_rights() -> Iterator[None]:
    """Commands of ours, called in this process, narrow the rights of new files; the next test wants its own."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(autouse=True)
def no_model_left() -> Iterator[None]:
    """A model's process that outlives its test is ended and named here, and not in whatever test counts them later."""
    yield
    from tests.model_processes import end_all

    assert not (left := end_all()), f"this test left processes of models behind: {left}"


@pytest.fixture(scope="session")
def until() -> Until:
    """Wait for a condition, and fail when it does not come true."""

    async def wait(true: Callable[[], bool], within_s: float = PATIENCE_S) -> None:
        deadline = time.monotonic() + within_s
        while not true():
            assert time.monotonic() < deadline, "it did not happen in time"
            await asyncio.sleep(0.005)

    return wait


@pytest.fixture(scope="session")
def running(until: Until) -> Running:
    """Run parts that have a `run` while the block lasts; a bus among them is connected when it begins."""

    @asynccontextmanager
    async def run(*parts: Any) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(part.run()) for part in parts]
        try:
            for part in parts:
                await until(lambda part=part: getattr(part, "connected", True))
            yield
        finally:
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            broken = [error for error in outcomes if isinstance(error, Exception)]
            assert not broken, broken

    return run


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    from tests.real_broker import Certificates

    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def make_mosquitto(tmp_path: Path, certificates: Certificates) -> Iterator[Callable[..., Mosquitto]]:
    """Start a broker that knows the given devices; stopped after the test."""
    from tests.real_broker import Mosquitto

    started: list[Broker] = []

    def make(grants: list[Grant], *, revocations: bool = False, replicas: Sequence[str] = ()) -> Mosquitto:
        mosquitto = Mosquitto(tmp_path, certificates, revocations=revocations, replicas=replicas)
        mosquitto.allow(grants)
        mosquitto.broker.start()
        started.append(mosquitto.broker)
        return mosquitto

    yield make
    for broker in started:
        broker.stop()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server; ask it for a database."""
    from tests.real_postgres import Postgres

    server = Postgres()
    yield server
    server.close()


@pytest.fixture
def update_world(tmp_path: Path, until: Until) -> UpdateWorld:
    from tests.update_world import UpdateWorld

    return UpdateWorld(tmp_path, until)


@pytest.fixture
def soft_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SoftToken:
    """A PKCS#11 token of SoftHSM, found in a directory of this test's own."""
    from tests.soft_token import SoftToken

    token = SoftToken(tmp_path / "softhsm")
    monkeypatch.setenv("SOFTHSM2_CONF", token.environment["SOFTHSM2_CONF"])
    return token
