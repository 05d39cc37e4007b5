"""Real data for the tests that want it."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulations.packages import Data, fetch

STATE = Path(__file__).resolve().parents[2] / ".hinterland"


@pytest.fixture(scope="session")
def data() -> Data:
    """The data packages; fetched by their ordinary clients the first time, proven by digest every time."""
    return fetch(STATE / "data")
