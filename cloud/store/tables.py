"""Every table in one view.

Times are Unix seconds in UTC, digests lower-case hexadecimal SHA-256. Only portable SQL: PostgreSQL runs the same code.
`migrations/` builds these tables step by step; a test compares the two.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from cloud.store.base import COUNTER, DIGEST, NAME, metadata
from cloud.store.distribution_tables import distribution
from cloud.store.job_tables import jobs, tracked
from cloud.store.mask_tables import fleet_masks
from cloud.store.privacy_tables import budgets, disclosures
from cloud.store.quarantine_tables import quarantine, strikes
from cloud.store.rollout_tables import rollout_devices, rollout_votes, rollouts, shadow_evidence, shadow_waves

__all__ = [
    "budgets",
    "disclosures",
    "distribution",
    "fleet_masks",
    "jobs",
    "metadata",
    "quarantine",
    "rollout_devices",
    "rollout_votes",
    "rollouts",
    "shadow_evidence",
    "shadow_waves",
    "strikes",
    "tracked",
]

devices = Table(
    "devices",
    metadata,
    Column("id", NAME, primary_key=True),
    Column("fleet", NAME, nullable=False, index=True),
    Column("state", String(16), nullable=False),
    Column("hardware", JSON, nullable=False),
    Column("runtimes", JSON, nullable=False),
    Column("agent", NAME, nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Column("node", String(20), nullable=False),  # Flower's node id fills 64 bits without a sign
    Column("serial", String(64), nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("enrolled_at", Double, nullable=False),
    Column("last_seen", Double, nullable=False),
    Column("revoked_at", Double),
    Column("alarm", Text, nullable=False),  # why its key seems to be in two places; empty for none
    Column("alarm_at", Double),
    Column("labels", JSON, nullable=False, server_default="{}"),  # what operators call it by, e.g. its site
)

certificates = Table(
    "certificates",
    metadata,
    Column("serial", String(64), primary_key=True),
    Column("device", NAME, nullable=False, index=True),
    Column("parent", String(64), nullable=False),  # the serial that vouched for it; empty at enrolment
    Column("issued_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("presented_at", Double),  # when it first vouched for the next one
    Column("superseded_at", Double, index=True),  # since then on the revocation list
    Column("pem", Text, nullable=False),
)

retired_nodes = Table(
    "retired_nodes",
    metadata,
    Column("node", String(20), primary_key=True),  # carried a key that its device no longer has
    Column("device", NAME, nullable=False),
)

epochs = Table(
    "epochs",
    metadata,
    Column("device", NAME, primary_key=True),
    Column("channel", String(16), primary_key=True),
    Column("boot", NAME, primary_key=True),
    Column("turn", Integer, nullable=False),  # grows on a channel whenever another epoch speaks
    Column("returned", Integer, nullable=False),
)

enrolment_tokens = Table(
    "enrolment_tokens",
    metadata,
    Column("id", NAME, primary_key=True),
    Column("secret_sha256", DIGEST, nullable=False),
    Column("fleet", NAME, nullable=False),
    Column("device", NAME, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("used_at", Double),
    Column("used_by", DIGEST, nullable=False),
    Column("key_sha256", DIGEST, nullable=False),  # the only key that may use it; empty for any
    Column("labels", JSON, nullable=False, server_default="{}"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("digest", DIGEST, primary_key=True),
    Column("name", NAME, nullable=False, unique=True),
    Column("created_at", Double, nullable=False),
    Column("revoked_at", Double),
    Column("hash", String(160), nullable=False, server_default=""),
    Column("roles", JSON, nullable=False, server_default='["admin"]'),
    Column("fleets", JSON, nullable=False, server_default='["*"]'),
    Column("expires_at", Double),
    Column("used_at", Double),
)

approvals = Table(
    "approvals",
    metadata,
    Column("release", ForeignKey("releases.id"), primary_key=True),
    Column("principal", String(160), primary_key=True),
    Column("digest", DIGEST, nullable=False),
    Column("approved", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", Double, nullable=False),
)

model_lines = Table(
    "model_lines",
    metadata,
    Column("name", NAME, primary_key=True),
    Column("document", JSON, nullable=False),
    Column("updated_at", Double, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("id", NAME, primary_key=True),
    Column("model", NAME, nullable=False, index=True),
    Column("number", Integer, nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("cause", String(32), nullable=False),
    Column("reason", Text, nullable=False),
    Column("spec", JSON, nullable=False),
    Column("result", JSON, nullable=False),
    Column("release", NAME, nullable=False),
    Column("followed", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
    UniqueConstraint("model", "number"),
)

rounds = Table(
    "rounds",
    metadata,
    Column("run", ForeignKey("runs.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("cohort", JSON, nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("digest", DIGEST, nullable=False),
    Column("at", Double, nullable=False),
    Column("progress", JSON, nullable=False, server_default="{}"),  # of each client (`cloud.training.progress`)
)

releases = Table(
    "releases",
    metadata,
    Column("id", NAME, primary_key=True),
    Column("model", NAME, nullable=False),
    Column("counter", Integer, nullable=False),
    Column("run", NAME, nullable=False),
    Column("digest", DIGEST, nullable=False),
    Column("manifest", LargeBinary, nullable=False),
    Column("signers", JSON, nullable=False),
    Column("replaces", NAME, nullable=False),  # set when this release brings old bytes back
    Column("created_at", Double, nullable=False),
    Column("published_at", Double),
    Column("refusal", Text, nullable=False, server_default=""),  # the rules that keep it from being published
    UniqueConstraint("model", "counter"),
)

attestations = Table(
    "attestations",
    metadata,
    Column("release", ForeignKey("releases.id"), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("attestor", String(80), primary_key=True),
    Column("envelope", Text, nullable=False),
    Column("at", Double, nullable=False),
)

variants = Table(
    "variants",
    metadata,
    Column("release", ForeignKey("releases.id"), primary_key=True),
    Column("name", NAME, primary_key=True),
    Column("digest", DIGEST, nullable=False, index=True),
    Column("size", BigInteger, nullable=False),
    Column("precision", String(16), nullable=False),
    Column("runtime", String(32), nullable=False),
    Column("hardware", JSON, nullable=False),
)

device_status = Table(
    "device_status",
    metadata,
    Column("device", NAME, primary_key=True),
    Column("model", NAME, primary_key=True),
    Column("release", NAME, nullable=False),
    Column("stage", String(16), nullable=False),
    Column("slot", String(8), nullable=False),
    Column("variant", NAME, nullable=False),
    Column("reason", Text, nullable=False),
    Column("received", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("serving", NAME, nullable=False),  # the release that was last reported active
    Column("serving_variant", NAME, nullable=False),
    Column("at", Double, nullable=False),
)

inbox_heads = Table(
    "inbox_heads",
    metadata,
    Column("device", NAME, primary_key=True),
    Column("boot", NAME, primary_key=True),
    Column("channel", String(16), primary_key=True),
    Column("highest", BigInteger, nullable=False),
    Column("stored", BigInteger, nullable=False),
    Column("dropped", BigInteger, nullable=False),
    Column("resent", BigInteger, nullable=False),
    Column("malformed", BigInteger, nullable=False),
    Column("at", Double, nullable=False),
)

receipts = Table(
    "receipts",
    metadata,
    Column("device", NAME, primary_key=True),
    Column("boot", NAME, primary_key=True),
    Column("channel", String(16), primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("at", Double, nullable=False),
    Column("received_at", Double, nullable=False),
)

telemetry = Table(
    "telemetry",
    metadata,
    Column("id", COUNTER, primary_key=True, autoincrement=True),
    Column("device", NAME, nullable=False),
    Column("pipeline", NAME, nullable=False),
    Column("model", NAME, nullable=False),
    Column("release", NAME, nullable=False),
    Column("phase", NAME, nullable=False),
    Column("since", Double, nullable=False),
    Column("until", Double, nullable=False),
    Column("processed", BigInteger, nullable=False),
    Column("errors", BigInteger, nullable=False),
    Column("dropped", BigInteger, nullable=False),
    Column("labelled", BigInteger, nullable=False),
    Column("correct", BigInteger, nullable=False),
    Column("labels_held", BigInteger, nullable=False),
    Column("latency_ms", LargeBinary, nullable=False),
    Column("counts", JSON, nullable=False),
    Column("received", BigInteger, nullable=False, server_default="0"),
    Column("dropped_by", JSON, nullable=False, server_default="{}"),
    Column("received_at", Double, index=True),
    Index("ix_telemetry_device_model", "device", "model", "id"),
)

drift_reports = Table(
    "drift_reports",
    metadata,
    Column("id", COUNTER, primary_key=True, autoincrement=True),
    Column("device", NAME, nullable=False),
    Column("model", NAME, nullable=False),
    Column("release", NAME, nullable=False),
    Column("reference", Boolean, nullable=False),
    Column("until", Double, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("received_at", Double, nullable=False),
    Index("ix_drift_reports_device_model", "device", "model", "id"),
)

drift_states = Table(
    "drift_states",
    metadata,
    Column("device", NAME, primary_key=True),
    Column("model", NAME, primary_key=True),
    Column("release", NAME, primary_key=True),
    Column("state", LargeBinary, nullable=False),
    Column("drifted", Boolean, nullable=False),
    Column("at", Double, nullable=False),
)

cursors = Table(
    "cursors",
    metadata,
    Column("name", NAME, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

drift_scores = Table(
    "drift_scores",
    metadata,
    Column("report", BigInteger, primary_key=True, autoincrement=False),
    Column("device", NAME, nullable=False),
    Column("model", NAME, nullable=False),
    Column("release", NAME, nullable=False),
    Column("score", Double, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("feature", NAME, nullable=False),
    Column("alarm", Boolean, nullable=False),
    Column("at", Double, nullable=False),
    Index("ix_drift_scores_model", "model", "device"),
)

events = Table(
    "events",
    metadata,
    Column("id", COUNTER, primary_key=True, autoincrement=True),
    Column("at", Double, nullable=False),
    Column("kind", NAME, nullable=False),
    Column("subject", String(160), nullable=False),
    Column("text", Text, nullable=False),
    Column("data", JSON, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("number", COUNTER, primary_key=True, autoincrement=False),
    Column("at", Double, nullable=False),
    Column("actor", NAME, nullable=False),
    Column("action", NAME, nullable=False),
    Column("subject", String(160), nullable=False),
    Column("reason", Text, nullable=False),
    Column("before", JSON, nullable=False),
    Column("after", JSON, nullable=False),
    Column("previous", DIGEST, nullable=False, unique=True),  # two writers cannot continue the same row
    Column("digest", DIGEST, nullable=False),
    Index("ix_audit_action", "action", "number"),
)

leases = Table(
    "leases",
    metadata,
    Column("name", NAME, primary_key=True),
    Column("replica", NAME, nullable=False),
    Column("incarnation", NAME, nullable=False),
    Column("token", BigInteger, nullable=False),
    Column("expires_at", Double, nullable=False),
)
