"""The tables of what populations disclosed and may disclose; part of `cloud.store.tables`."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Double, Integer, String, Table, Text

from cloud.store.base import DIGEST, NAME, metadata

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

proposals = Table(
    "privacy_proposals",
    metadata,
    Column("population", NAME, primary_key=True),  # a newer one takes the place of the older
    Column("epsilon", Double, nullable=False),
    Column("delta", Double, nullable=False),
    Column("at", Double, nullable=False),
    Column("by", NAME, nullable=False),
    Column("reason", Text, nullable=False),
)

proposal_votes = Table(
    "privacy_votes",
    metadata,
    Column("population", NAME, primary_key=True),
    Column("principal", String(160), primary_key=True),
    Column("digest", DIGEST, nullable=False),  # of the proposal that was looked at
    Column("approved", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", Double, nullable=False),
)
