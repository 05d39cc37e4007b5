"""What attestations need beyond the first tables."""

revision = "0004"
down_revision: str | None = "0003"


def upgrade() -> None:
    """Build it."""
