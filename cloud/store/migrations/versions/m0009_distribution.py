"""How fast, how urgently and when a fleet is sent model bytes."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision: str | None = "0008"


def upgrade() -> None:
    """Build it."""
    op.create_table(
        "distribution",
        sa.Column("fleet", sa.String(length=80), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("fleet", name=op.f("pk_distribution")),
    )
