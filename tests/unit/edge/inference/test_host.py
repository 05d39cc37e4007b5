from pathlib import Path

import numpy as np
import pytest

from edge.inference.host import ModelHost
from edge.inference.memory_runtime import MemorySession
from edge.inference.turns import Caller
from edge.update.serving import Serving
from shared.errors import FaultError, TrustError
from tests.models import SHAPE, place


class Runtime:
    """Sessions whose first logit is the first byte of their model; `b"n"` gives NaN, `b"x"` does not load."""

    def __init__(self) -> None:
        self.made: list[MemorySession] = []

    def load(self, data: bytes) -> MemorySession:
        if data.startswith(b"x"):
            raise FaultError("no memory")
        value = np.nan if data.startswith(b"n") else float(data[0])
        session = MemorySession(lambda batch: [np.full((len(batch), 2), value)], input_shape=SHAPE)
        self.made.append(session)
        return session


@pytest.fixture
def runtime() -> Runtime:
    return Runtime()


@pytest.fixture
def host(runtime: Runtime) -> ModelHost:
    return ModelHost(runtime.load)


def test_it_is_what_the_update_machine_serves_through(host: ModelHost) -> None:
    serving: Serving = host
    assert serving


async def test_activation_serves_and_the_next_replaces_it(host: ModelHost, runtime: Runtime, tmp_path: Path) -> None:
    assert host.serving("toy") is None
    for counter in (1, 2):
        await host.activate("toy", *place(tmp_path, b"model", counter=counter))
        served = host.serving("toy")
        assert served is not None
        assert served.release.id == f"toy-{counter}"
        assert served.schema.labels == ["low", "high"]
    assert [session.closed for session in runtime.made] == [True, False]


async def test_a_lease_keeps_the_old_session_open_until_its_end(
    host: ModelHost, runtime: Runtime, tmp_path: Path
) -> None:
    await host.activate("toy", *place(tmp_path, b"one", counter=1))
    with host.lease("toy") as old, host.lease("toy") as same:
        await host.activate("toy", *place(tmp_path, b"two", counter=2))
        assert old is same is not None
        assert old.release.id == "toy-1"
        assert not runtime.made[0].closed
        with host.lease("toy") as new:
            assert new is not None
            assert new.release.id == "toy-2"
    assert runtime.made[0].closed
    assert not runtime.made[1].closed


async def test_callers_that_say_who_they_are_see_one_session_in_turns(
    host: ModelHost, runtime: Runtime, tmp_path: Path
) -> None:
    await host.activate("toy", *place(tmp_path, b"one", counter=1))
    runs = runtime.made[0].runs
    with host.lease("toy", by=Caller(name="a")) as mine, host.lease("toy", by=Caller(name="b")) as its:
        assert mine is not None
        assert its is not None
        assert mine.session is not its.session
        assert mine.release is its.release
        for each in (mine, its):
            each.session.run(np.zeros((1, *SHAPE), np.float32))
        mine.session.close()  # which is not its to do
    assert runtime.made[0].runs == runs + 2
    assert not runtime.made[0].closed


@pytest.mark.parametrize(("data", "error"), [(b"nan", FaultError), (b"x", FaultError)])
async def test_a_model_that_fails_leaves_the_old_one_serving(
    host: ModelHost, runtime: Runtime, tmp_path: Path, data: bytes, error: type[Exception]
) -> None:
    await host.activate("toy", *place(tmp_path, b"one", counter=1))
    with pytest.raises(error):
        await host.activate("toy", *place(tmp_path, data, counter=2))
    served = host.serving("toy")
    assert served is not None
    assert served.release.id == "toy-1"
    assert not runtime.made[0].closed
    assert all(session.closed for session in runtime.made[1:])


async def test_bytes_that_are_not_the_variants_are_never_loaded(
    host: ModelHost, runtime: Runtime, tmp_path: Path
) -> None:
    release, variant, path = place(tmp_path, b"model")
    path.write_bytes(b"modem")
    with pytest.raises(TrustError):
        await host.activate("toy", release, variant, path)
    assert runtime.made == []


async def test_a_file_that_is_gone_or_is_another_by_a_link_is_never_loaded(
    host: ModelHost, runtime: Runtime, tmp_path: Path
) -> None:
    release, variant, path = place(tmp_path, b"model")
    path.rename(tmp_path / "elsewhere")
    with pytest.raises(TrustError, match="no regular file"):
        await host.activate("toy", release, variant, path)
    path.symlink_to(tmp_path / "elsewhere")  # the very bytes, by a way that can be turned at any moment
    with pytest.raises(TrustError, match="no regular file"):
        await host.activate("toy", release, variant, path)
    assert runtime.made == []


async def test_model_lines_are_independent_and_withdrawn_alone(
    host: ModelHost, runtime: Runtime, tmp_path: Path
) -> None:
    await host.activate("toy", *place(tmp_path, b"one"))
    await host.activate("other", *place(tmp_path, b"two", model="other"))
    await host.withdraw("toy")
    assert host.serving("toy") is None
    assert host.serving("other") is not None
    assert [session.closed for session in runtime.made] == [True, False]
    with host.lease("toy") as nothing:
        assert nothing is None
