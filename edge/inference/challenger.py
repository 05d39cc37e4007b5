"""A challenger in the shadow of what serves: its terms, and how it bears up."""

from __future__ import annotations

from edge.inference.health import failing
from edge.inference.served import Served
from shared.bundle import Challenge

MAX_FAILURES = 10
"""Batches in a row that what serves has answered and the challenger has not, after which it is given up."""


class Challenger:
    """Belongs to the event loop, like the host that holds it."""

    def __init__(self, served: Served, terms: Challenge) -> None:
        self.served = served
        self.terms = terms
        self._failures = 0
        self._fault = ""

    @property
    def release(self) -> str:
        """Its id."""
        return self.served.release.id

    @property
    def ailing(self) -> str:
        """Why it should not run on; empty while it is well."""
        if why := failing(self.served.session):
            return why
        if self._failures >= MAX_FAILURES:
            return f"it failed on {self._failures} batches in a row: {self._fault}"
        return ""

    def answered(self) -> None:
        """It answered a batch, or part of one."""
        self._failures = 0

    def failed(self, fault: str) -> None:
        """It answered nothing of a batch that what serves has answered."""
        self._failures += 1
        self._fault = fault
