"""The tables of what populations disclosed and may disclose; part of `cloud.store.tables`."""

from __future__ import annotations

from sqlalchemy import Column, Double, Integer, String, Table, Text

from cloud.store.base import NAME, metadata

disclosures = Table(
    "disclosures",
    metadata,
    Column("run", NAME, primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("release", String(128), primary_key=True),  # what was disclosed; the same one twice tells nothing new
    Column("population", NAME, nullable=False, index=True),
    Column("at", Double, nullable=False),
    Column("multiplier", Double, nullable=False),
    Column("epsilon", Double, nullable=False),
    Column("delta", Double, nullable=False),
)

budgets = Table(
    "privacy_budgets",
    metadata,
    Column("population", NAME, primary_key=True),
    Column("epsilon", Double, nullable=False),
    Column("delta", Double, nullable=False),
    Column("at", Double, nullable=False),
    Column("by", NAME, nullable=False),
    Column("reason", Text, nullable=False),
)
