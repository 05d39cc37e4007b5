"""What operators and approvals need beyond the first tables."""

revision = "0002"
down_revision: str | None = "0001"


def upgrade() -> None:
    """Build it."""
