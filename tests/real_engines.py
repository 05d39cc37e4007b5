"""NVIDIA's real builder, and what its engines are made from."""

from __future__ import annotations

import os

import pytest

from cloud.models.engines.tensorrt import missing
from shared.bundle import Runtime


def needs_builder() -> None:
    """Skip where the builder is not installed; in CI that is a failure."""
    reason = missing(Runtime.TENSORRT_RTX)
    if reason and os.environ.get("CI"):
        pytest.fail(f"{reason}; `make engines` installs it")
    if reason:
        pytest.skip(f"{reason}; `make engines` installs it")
