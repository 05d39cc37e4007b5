"""The table of what fleets' operators hide from view; part of `cloud.store.tables`."""

from __future__ import annotations

from sqlalchemy import JSON, Column, Double, Table

from cloud.store.base import NAME, metadata

fleet_masks = Table(
    "fleet_masks",
    metadata,
    Column("fleet", NAME, primary_key=True),
    Column("document", JSON, nullable=False),
    Column("updated_at", Double, nullable=False),
)
"""Privacy masks that are signed with a fleet's desired state."""
