"""Signed statements about releases, and why one is not published."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision: str | None = "0003"


def upgrade() -> None:
    """Build it; releases that are out already are refused nothing."""
    op.create_table(
        "attestations",
        sa.Column("release", sa.String(length=80), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("attestor", sa.String(length=80), nullable=False),
        sa.Column("envelope", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["release"], ["releases.id"], name=op.f("fk_attestations_release")),
        sa.PrimaryKeyConstraint("release", "kind", "attestor", name=op.f("pk_attestations")),
    )
    with op.batch_alter_table("releases") as releases:
        releases.add_column(sa.Column("refusal", sa.Text(), nullable=False, server_default=""))
