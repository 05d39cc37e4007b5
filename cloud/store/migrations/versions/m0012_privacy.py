"""What was disclosed about each population, over all runs, and what may be."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision: str | None = "0011"


def upgrade() -> None:
    """Build it."""
    op.create_table(
        "disclosures",
        sa.Column("run", sa.String(length=80), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("release", sa.String(length=128), nullable=False),
        sa.Column("population", sa.String(length=80), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("multiplier", sa.Double(), nullable=False),
        sa.Column("epsilon", sa.Double(), nullable=False),
        sa.Column("delta", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("run", "round", "release", name=op.f("pk_disclosures")),
    )
    op.create_index(op.f("ix_disclosures_population"), "disclosures", ["population"])
    op.create_table(
        "privacy_budgets",
        sa.Column("population", sa.String(length=80), nullable=False),
        sa.Column("epsilon", sa.Double(), nullable=False),
        sa.Column("delta", sa.Double(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("by", sa.String(length=80), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("population", name=op.f("pk_privacy_budgets")),
    )
