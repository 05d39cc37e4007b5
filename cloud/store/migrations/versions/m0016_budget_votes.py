"""Greater privacy budgets that wait for people."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision: str | None = "0015"


def upgrade() -> None:
    """Build it."""
    op.create_table(
        "privacy_proposals",
        sa.Column("population", sa.String(length=80), nullable=False),
        sa.Column("epsilon", sa.Double(), nullable=False),
        sa.Column("delta", sa.Double(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("by", sa.String(length=80), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("population", name=op.f("pk_privacy_proposals")),
    )
    op.create_table(
        "privacy_votes",
        sa.Column("population", sa.String(length=80), nullable=False),
        sa.Column("principal", sa.String(length=160), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("approved", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("population", "principal", name=op.f("pk_privacy_votes")),
    )
