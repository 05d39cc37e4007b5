"""Strikes against devices whose updates the gate refused, and who is quarantined."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision: str | None = "0010"


def upgrade() -> None:
    """Build it."""
    op.create_table(
        "strikes",
        sa.Column("device", sa.String(length=80), nullable=False),
        sa.Column("run", sa.String(length=80), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("check", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("measured", sa.Text(), nullable=False),
        sa.Column("forgiven_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("device", "run", "round", name=op.f("pk_strikes")),
    )
    op.create_table(
        "quarantine",
        sa.Column("device", sa.String(length=80), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("run", sa.String(length=80), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("released_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("device", name=op.f("pk_quarantine")),
    )
