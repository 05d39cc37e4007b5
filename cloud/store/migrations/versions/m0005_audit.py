"""The audit log only grows, and the newest row about an action is found by an index."""

from alembic import op

revision = "0005"
down_revision: str | None = "0004"

_SQLITE = """
CREATE TRIGGER audit_no_{what} BEFORE {what} ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END
"""

_FUNCTION = """
CREATE OR REPLACE FUNCTION audit_only_grows() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the audit log only grows'; END $$
"""

_POSTGRESQL = """
CREATE TRIGGER audit_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
FOR EACH STATEMENT EXECUTE FUNCTION audit_only_grows()
"""


def upgrade() -> None:
    """Build it. A trigger stops mistakes and the careless; anchors are for whoever can drop a trigger."""
    op.create_index("ix_audit_action", "audit", ["action", "number"])
    match op.get_bind().dialect.name:
        case "sqlite":
            for what in ("UPDATE", "DELETE"):
                op.execute(_SQLITE.format(what=what))
        case "postgresql":
            op.execute(_FUNCTION)
            op.execute(_POSTGRESQL)
