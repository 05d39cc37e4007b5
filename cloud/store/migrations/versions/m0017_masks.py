"""What fleets' operators hide from view."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision: str | None = "0016"


def upgrade() -> None:
    """Build it."""
    op.create_table(
        "fleet_masks",
        sa.Column("fleet", sa.String(length=80), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("fleet", name=op.f("pk_fleet_masks")),
    )
