"""Who leads, and how often that has changed."""

revision = "0008"
down_revision: str | None = "0007"


def upgrade() -> None:
    """Build it."""
