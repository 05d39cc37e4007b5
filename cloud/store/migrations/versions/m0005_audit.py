"""What audit need beyond the first tables."""

revision = "0005"
down_revision: str | None = "0004"


def upgrade() -> None:
    """Build it."""
