"""How often somebody may ask: moving windows in memory, per principal and per address."""

from __future__ import annotations

import time

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from cloud.access.principal import TooManyError


class Limits:
    """Counters of one process; safe to share between threads."""

    def __init__(self, *, principal: int, stranger: int, failures: int) -> None:
        """Requests a minute.

        Args:
            principal: of one authenticated caller.
            stranger: of one address on the routes that need no credential.
            failures: of one address with credentials that are none.
        """
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._principal = RateLimitItemPerMinute(principal)
        self._stranger = RateLimitItemPerMinute(stranger)
        self._failures = RateLimitItemPerMinute(failures)

    def principal(self, actor: str) -> None:
        """Count a request of somebody we know.

        Raises:
            TooManyError: one too many.
        """
        self._hit(self._principal, "principal", actor)

    def stranger(self, address: str) -> None:
        """Count a request that carries no credential.

        Raises:
            TooManyError: one too many.
        """
        self._hit(self._stranger, "stranger", address)

    def check_failures(self, address: str) -> None:
        """Refuse an address that has failed too often, before anything expensive is done for it.

        Raises:
            TooManyError: as said.
        """
        if not self._limiter.test(self._failures, "failures", address):
            raise self._refusal(self._failures, "failures", address)

    def failed(self, address: str) -> None:
        """Count a credential that was none."""
        self._limiter.hit(self._failures, "failures", address)

    def _hit(self, item: RateLimitItemPerMinute, kind: str, who: str) -> None:
        if not self._limiter.hit(item, kind, who):
            raise self._refusal(item, kind, who)

    def _refusal(self, item: RateLimitItemPerMinute, kind: str, who: str) -> TooManyError:
        error = TooManyError(
            f"more than {item.amount} requests in a minute", hint="Wait as long as Retry-After says, then go on."
        )
        # the library keeps its windows by the machine's clock
        error.retry_after = max(1.0, self._limiter.get_window_stats(item, kind, who).reset_time - time.time())
        return error
