"""The table of how fleets are sent model bytes; part of `cloud.store.tables`."""

from __future__ import annotations

from sqlalchemy import JSON, Column, Double, Table

from cloud.store.base import NAME, metadata

distribution = Table(
    "distribution",
    metadata,
    Column("fleet", NAME, primary_key=True),
    Column("document", JSON, nullable=False),
    Column("updated_at", Double, nullable=False),
)
