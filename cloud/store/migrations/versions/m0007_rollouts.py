"""What a rollout is told and what its shadows saw; labels of devices."""

revision = "0007"
down_revision: str | None = "0006"


def upgrade() -> None:
    """Build it."""
