"""What can go wrong with trust, where `TrustError` alone says too little."""

from __future__ import annotations

from shared.errors import TrustError


class Expired(TrustError):  # noqa: N818  # names the state of the metadata; `code` is "expired"
    """Signed metadata is past its date: updates stop and an alarm is raised, what serves goes on serving."""
