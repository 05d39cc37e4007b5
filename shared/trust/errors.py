"""What can go wrong with trust, where `TrustError` alone says too little."""

from __future__ import annotations

from shared.errors import TrustError


class Expired(TrustError):  # noqa: N818  # names the state of the metadata; `code` is "expired"
    """Signed metadata is past its date: updates stop and an alarm is raised, what serves goes on serving."""


class Altered(TrustError):  # noqa: N818  # names the state of the bytes
    """A file that came is not the one the signers vouch for: its carrier's fault, and another copy may be good.

    Statements that are signed and contradict each other or our rules are plain `TrustError`s: the same bytes under
    the same signatures fail again, wherever they come from.
    """

    def __init__(self, message: str, *, file: str, hint: str = "") -> None:
        """`file` is its name at the source."""
        super().__init__(message, hint=hint)
        self.file = file

    @property
    def code(self) -> str:
        """As of any proof that failed: who reads reports learns from the text whose fault it was."""
        return "trust"
