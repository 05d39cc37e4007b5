"""How far each client of a round is."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision: str | None = "0009"


def upgrade() -> None:
    """Build it."""
    op.add_column("rounds", sa.Column("progress", sa.JSON(), nullable=False, server_default="{}"))
