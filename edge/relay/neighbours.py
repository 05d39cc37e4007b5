"""This device's neighbours, as its settings name them. A relay can save bytes; it can never stop an update."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

from edge.relay.address import Address
from edge.relay.passport import Passport
from edge.relay.shelf import Shelf
from edge.relay.visit import Patience, Visit
from edge.update.partial import PartialFile
from shared.clock import Clock
from shared.errors import ContractError, FaultError, HinterlandError, TrustError

log = logging.getLogger(__name__)

AVOID_S = 60.0
"""Seconds for which a relay is left alone that was gone, full or slow."""

DISTRUST_S = 6 * 3600.0
"""Seconds for which a relay is left alone that sent other bytes than were asked for, or is no device of ours."""


class Relays:
    """The relays of a site, asked in order."""

    def __init__(
        self, relays: Sequence[Address], *, passport: Passport, clock: Clock, patience: Patience | None = None
    ) -> None:
        self._relays = relays
        self._passport = passport
        self._clock = clock
        self._patience = patience or Patience()
        self._shunned: dict[Address, float] = {}
        self.saved = 0
        """Bytes that did not come over MQTT, for the whole life of this agent."""

    async def fetch(self, partial: PartialFile) -> None:
        """Ask each relay for what is lacking still; as `edge.update.neighbours.Neighbours`."""
        for relay in self._relays:
            if partial.missing and self._clock.monotonic() >= self._shunned.get(relay, -math.inf):
                await self._visit(relay, partial)

    async def _visit(self, relay: Address, partial: PartialFile) -> None:
        before = partial.received
        visit = Visit(relay, partial, passport=self._passport, patience=self._patience)
        try:
            await visit.run()
        except (TrustError, ContractError) as error:
            self._shun(relay, DISTRUST_S, error)
        except FaultError:
            raise
        except (HinterlandError, OSError, EOFError) as error:
            self._shun(relay, AVOID_S, error)
        finally:
            brought = partial.received - before
            self.saved += brought
            log.info("%d KiB of %s from the relay %s", brought >> 10, partial.variant.name, relay)

    def _shun(self, relay: Address, seconds: float, error: Exception) -> None:
        self._shunned[relay] = self._clock.monotonic() + seconds
        log.warning("the relay %s is not asked for %.0f s: %s", relay, seconds, str(error) or type(error).__name__)


class Site:
    """Both sides of a device on its site: it gives what it may give, and takes what it can get."""

    def __init__(self, *, shelf: Shelf | None, relays: Relays | None) -> None:
        """Take what the settings ask for; None for what they do not."""
        self._shelf = shelf
        self._relays = relays

    async def fetch(self, partial: PartialFile) -> None:
        """As `edge.update.neighbours.Neighbours`; what comes, here or later, is for others at once."""
        if self._shelf is not None:
            self._shelf.lend(partial)
        if self._relays is not None:
            await self._relays.fetch(partial)
