"""The tables of strikes and quarantine; part of `cloud.store.tables`."""

from __future__ import annotations

from sqlalchemy import Column, Double, Integer, String, Table, Text

from cloud.store.base import NAME, metadata

strikes = Table(
    "strikes",
    metadata,
    Column("device", NAME, primary_key=True),
    Column("run", NAME, primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("at", Double, nullable=False),
    Column("check", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("measured", Text, nullable=False),
    Column("forgiven_at", Double),  # when an operator released the device; such a strike counts no more
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("device", NAME, primary_key=True),
    Column("since", Double, nullable=False),
    Column("run", NAME, nullable=False),
    Column("reason", Text, nullable=False),
    Column("released_at", Double),
)
