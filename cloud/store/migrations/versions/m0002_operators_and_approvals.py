"""What operators and approvals need beyond the first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision: str | None = "0001"


def upgrade() -> None:
    """Build it; keys from before are administrators', as they were."""
    with op.batch_alter_table("api_keys", schema=None) as batch_op:
        batch_op.add_column(sa.Column("hash", sa.String(length=160), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("roles", sa.JSON(), nullable=False, server_default='["admin"]'))
        batch_op.add_column(sa.Column("fleets", sa.JSON(), nullable=False, server_default='["*"]'))
        batch_op.add_column(sa.Column("expires_at", sa.Double(), nullable=True))
        batch_op.add_column(sa.Column("used_at", sa.Double(), nullable=True))
    op.create_table(
        "approvals",
        sa.Column("release", sa.String(length=80), nullable=False),
        sa.Column("principal", sa.String(length=160), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("approved", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["release"], ["releases.id"], name=op.f("fk_approvals_release")),
        sa.PrimaryKeyConstraint("release", "principal", name=op.f("pk_approvals")),
    )
