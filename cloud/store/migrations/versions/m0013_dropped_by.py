"""Why inputs were not inferred."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision: str | None = "0012"


def upgrade() -> None:
    """Build it."""
    op.add_column("telemetry", sa.Column("received", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("telemetry", sa.Column("dropped_by", sa.JSON(), nullable=False, server_default="{}"))
