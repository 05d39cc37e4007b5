"""The time as a device may know it: what its clock reads, but never before something its authority has signed.

Only the authority's own signatures count here. A stolen timestamp key could sign a far future, and a device that
believed it would take every server for expired, and with that lose the way back.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from cryptography import x509

from shared.clock import Clock
from shared.durable import read_if_present
from shared.errors import FaultError


class KnownTime:
    """Callable as a `now`: Unix seconds."""

    def __init__(self, clock: Clock, *proofs: Path) -> None:
        """`proofs` are certificates (PEM) of our authority; each was signed at its `not before` or later."""
        self._clock = clock
        self._proofs = proofs

    def __call__(self) -> float:
        """The later of the clock's reading and what is proven."""
        return max([self._clock.now(), *map(_begin, self._proofs)])


def _begin(path: Path) -> float:
    with suppress(ValueError, FaultError):
        return x509.load_pem_x509_certificate(read_if_present(path) or b"").not_valid_before_utc.timestamp()
    return 0.0
