"""When telemetry came, so that it can be forgotten by our clock and not by a device's."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision: str | None = "0005"


def upgrade() -> None:
    """Build it; what came before counts as just received."""
    with op.batch_alter_table("telemetry", schema=None) as batch_op:
        batch_op.add_column(sa.Column("received_at", sa.Double(), nullable=True))
    op.execute("UPDATE telemetry SET received_at = (SELECT max(received_at) FROM receipts)")
    with op.batch_alter_table("telemetry", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_telemetry_received_at"), ["received_at"], unique=False)
