"""Says when a server with signing keys goes away and when it is back: in health, and on the timeline."""

from __future__ import annotations

from cloud.store.database import Database
from cloud.store.events import Events
from cloud.vault import Vault
from shared.clock import Clock
from shared.errors import HinterlandError

LOOK_S = 10.0
"""Seconds between two looks at a server that answers; at one that does not, every turn looks."""

SUBJECT = "keys"


class KeyWatch:
    """Looks whether what signs is there."""

    def __init__(self, vault: Vault, *, database: Database, clock: Clock) -> None:
        self._vault = vault
        self._database = database
        self._clock = clock
        self._paused = False

    def turn(self) -> None:
        """Look once; each change is one event.

        Raises:
            HinterlandError: why nothing can be signed, for the health line.
        """
        try:
            self._vault.ask(lambda client: client.auth.token.lookup_self(), what="look at our own login")
        except HinterlandError as error:
            if not self._paused:
                self._tell("keys.paused", f"nothing is signed: {error}. {error.hint}")
            self._paused = True
            raise
        if self._paused:
            self._tell("keys.resumed", f"{self._vault.url} answers again; signing goes on")
        self._paused = False

    def _tell(self, kind: str, text: str) -> None:
        with self._database.write() as connection:
            Events(connection).add(kind, SUBJECT, text, at=self._clock.now())
