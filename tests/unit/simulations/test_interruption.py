"""A person who wants to stop is heard, also when the exception was lost."""

import os
import signal
import threading
import weakref
from collections.abc import Iterator

import pytest

from simulations import interruption


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setattr(interruption, "_asked", threading.Event())
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


class Held:
    """Something that can be referred to weakly."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_that_was_lost_is_heard_at_the_next_look(number: signal.Signals) -> None:
    interruption.listen()
    held = Held()
    reference = weakref.ref(held, lambda _: os.kill(os.getpid(), number))
    del held  # the callback runs here, and what it raises is ignored
    assert reference() is None
    with pytest.raises(KeyboardInterrupt):
        interruption.heed()


def test_nobody_is_stopped_who_was_not_asked_to() -> None:
    interruption.listen()
    interruption.heed()
