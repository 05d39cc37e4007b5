"""Central jobs as the API shows them."""

from __future__ import annotations

import msgspec

from cloud.store.jobs import JobRow
from shared.jobs import CentralJob


def job_view(row: JobRow) -> CentralJob:
    """One central job."""
    return msgspec.convert(msgspec.to_builtins(row), CentralJob)
