"""How fast, how urgently and when a fleet is sent model bytes."""

revision = "0009"
down_revision: str | None = "0008"


def upgrade() -> None:
    """Build it."""
