"""Tables of rollouts; `tables` shows them with all others."""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, Double, ForeignKey, Index, Integer, LargeBinary, String, Table, Text

from cloud.store.base import DIGEST, NAME, metadata

rollouts = Table(
    "rollouts",
    metadata,
    Column("id", NAME, primary_key=True),
    Column("fleet", NAME, nullable=False),
    Column("model", NAME, nullable=False),
    Column("release", ForeignKey("releases.id"), nullable=False),
    Column("previous", NAME, nullable=False),
    Column("fallback", NAME, nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("wave", Integer, nullable=False),
    Column("opened_at", Double),
    Column("complete_at", Double),
    Column("reason", Text, nullable=False),
    Column("waves", JSON, nullable=False),
    Column("spec", JSON, nullable=False, server_default='{"release": ""}'),
    Column("asked", JSON, nullable=False, server_default="[]"),
    Column("proofs", JSON, nullable=False, server_default="{}"),
    Column("began_at", Double),
    Column("shadow_at", Double),
    Column("paused_at", Double),
    Column("done_at", Double),
    Column("created_at", Double, nullable=False),
    Column("finished_at", Double),
    Index("ix_rollouts_fleet_model", "fleet", "model"),
)

rollout_devices = Table(
    "rollout_devices",
    metadata,
    Column("rollout", ForeignKey("rollouts.id"), primary_key=True),
    Column("device", NAME, primary_key=True),
    Column("wave", Integer, nullable=False),
    Column("stage", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("offered_at", Double),
    Column("active_at", Double),
    Column("at", Double),
    Index("ix_rollout_devices_device", "device"),
)

shadow_evidence = Table(
    "shadow_evidence",
    metadata,
    Column("rollout", ForeignKey("rollouts.id"), primary_key=True),
    Column("device", NAME, primary_key=True),
    Column("body", LargeBinary, nullable=False),  # `cloud.rollout.evidence.Evidence`, MessagePack
    Column("at", Double, nullable=False),
)

shadow_waves = Table(
    "shadow_waves",
    metadata,
    Column("rollout", ForeignKey("rollouts.id"), primary_key=True),
    Column("wave", Integer, primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),  # the sum over its devices
    Column("at", Double, nullable=False),
)

rollout_votes = Table(
    "rollout_votes",
    metadata,
    Column("rollout", ForeignKey("rollouts.id"), primary_key=True),
    Column("principal", String(160), primary_key=True),
    Column("digest", DIGEST, nullable=False),  # of the specification that was looked at
    Column("approved", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", Double, nullable=False),
)
