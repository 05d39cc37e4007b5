"""Every certificate a device was ever given, epochs of outboxes, alarms, and tokens for one key."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision: str | None = "0002"

_KNOWN = """
INSERT INTO certificates (serial, device, parent, issued_at, expires_at, presented_at, superseded_at, pem)
SELECT serial, id, '', enrolled_at, expires_at, NULL, revoked_at, '' FROM devices
"""


def upgrade() -> None:
    """Build it; the newest certificate of each device is all that older coordinators kept."""
    op.create_table(
        "certificates",
        sa.Column("serial", sa.String(length=64), nullable=False),
        sa.Column("device", sa.String(length=80), nullable=False),
        sa.Column("parent", sa.String(length=64), nullable=False),
        sa.Column("issued_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("presented_at", sa.Double(), nullable=True),
        sa.Column("superseded_at", sa.Double(), nullable=True),
        sa.Column("pem", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("serial", name=op.f("pk_certificates")),
    )
    op.create_index(op.f("ix_certificates_device"), "certificates", ["device"])
    op.create_index(op.f("ix_certificates_superseded_at"), "certificates", ["superseded_at"])
    op.execute(sa.text(_KNOWN))
    op.create_table(
        "retired_nodes",
        sa.Column("node", sa.String(length=20), nullable=False),
        sa.Column("device", sa.String(length=80), nullable=False),
        sa.PrimaryKeyConstraint("node", name=op.f("pk_retired_nodes")),
    )
    op.create_table(
        "epochs",
        sa.Column("device", sa.String(length=80), nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("boot", sa.String(length=80), nullable=False),
        sa.Column("turn", sa.Integer(), nullable=False),
        sa.Column("returned", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("device", "channel", "boot", name=op.f("pk_epochs")),
    )
    with op.batch_alter_table("devices") as devices:
        devices.add_column(sa.Column("alarm", sa.Text(), nullable=False, server_default=""))
        devices.add_column(sa.Column("alarm_at", sa.Double(), nullable=True))
    with op.batch_alter_table("enrolment_tokens") as tokens:
        tokens.add_column(sa.Column("key_sha256", sa.String(length=64), nullable=False, server_default=""))
