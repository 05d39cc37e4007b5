"""The tables of central jobs, and of what an experiment tracker was told; part of `cloud.store.tables`."""

from __future__ import annotations

from sqlalchemy import JSON, Column, Double, Integer, String, Table, Text

from cloud.store.base import NAME, metadata

jobs = Table(
    "jobs",
    metadata,
    Column("id", NAME, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("subject", NAME, nullable=False, index=True),  # the run or release it is about
    Column("model", NAME, nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("by", NAME, nullable=False),
    Column("reason", Text, nullable=False),
    Column("order", JSON, nullable=False),
    Column("result", JSON, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
)

tracked = Table(
    "tracked_runs",
    metadata,
    Column("run", NAME, primary_key=True),
    Column("remote", String(64), nullable=False),  # its id at the tracker
    Column("rounds", Integer, nullable=False),
    Column("state", String(16), nullable=False),
)
