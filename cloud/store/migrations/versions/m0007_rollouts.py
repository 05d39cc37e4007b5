"""What a rollout is told and whom it asked, what its shadows saw, votes on it, and labels of devices."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision: str | None = "0006"

TIMES = ("began_at", "shadow_at", "paused_at", "done_at")


def upgrade() -> None:
    """Build it; rollouts of before asked whole waves."""
    with op.batch_alter_table("devices", schema=None) as batch_op:
        batch_op.add_column(sa.Column("labels", sa.JSON(), server_default="{}", nullable=False))
    with op.batch_alter_table("enrolment_tokens", schema=None) as batch_op:
        batch_op.add_column(sa.Column("labels", sa.JSON(), server_default="{}", nullable=False))
    with op.batch_alter_table("rollouts", schema=None) as batch_op:
        batch_op.add_column(sa.Column("spec", sa.JSON(), server_default='{"release": ""}', nullable=False))
        batch_op.add_column(sa.Column("asked", sa.JSON(), server_default="[]", nullable=False))
        batch_op.add_column(sa.Column("proofs", sa.JSON(), server_default="{}", nullable=False))
        for name in TIMES:
            batch_op.add_column(sa.Column(name, sa.Double(), nullable=True))
    _fill()
    with op.batch_alter_table("rollout_devices", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_rollout_devices_device"), ["device"], unique=False)
    op.create_table(
        "shadow_evidence",
        sa.Column("rollout", sa.String(length=80), nullable=False),
        sa.Column("device", sa.String(length=80), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["rollout"], ["rollouts.id"], name=op.f("fk_shadow_evidence_rollout")),
        sa.PrimaryKeyConstraint("rollout", "device", name=op.f("pk_shadow_evidence")),
    )
    op.create_table(
        "shadow_waves",
        sa.Column("rollout", sa.String(length=80), nullable=False),
        sa.Column("wave", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["rollout"], ["rollouts.id"], name=op.f("fk_shadow_waves_rollout")),
        sa.PrimaryKeyConstraint("rollout", "wave", name=op.f("pk_shadow_waves")),
    )
    op.create_table(
        "rollout_votes",
        sa.Column("rollout", sa.String(length=80), nullable=False),
        sa.Column("principal", sa.String(length=160), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("approved", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["rollout"], ["rollouts.id"], name=op.f("fk_rollout_votes_rollout")),
        sa.PrimaryKeyConstraint("rollout", "principal", name=op.f("pk_rollout_votes")),
    )


def _fill() -> None:
    names = ("id", "release", "fleet", "waves", "wave", "state", "opened_at", "finished_at")
    table = sa.table("rollouts", *(sa.column(name) for name in (*names, "spec", "asked", "began_at", "done_at")))
    connection = op.get_bind()
    for row in connection.execute(sa.select(*(table.c[name] for name in names))).mappings().all():
        waves = json.loads(row["waves"]) if isinstance(row["waves"], str) else row["waves"]
        asked = [device for wave in waves[: row["wave"] + 1] for device in wave["devices"]]
        spec = {"release": row["release"], "fleet": row["fleet"]}
        connection.execute(
            sa.update(table)
            .where(table.c.id == row["id"])
            .values(
                asked=json.dumps(asked),
                spec=json.dumps(spec),
                began_at=row["opened_at"],
                done_at=row["finished_at"] if row["state"] == "done" else None,
            )
        )
