"""One tree of errors; its branch says who acts.

HinterlandError
├── ContractError    foreign bytes break a contract  → drop, count, report; the sender must change
├── TrustError       a proof failed                  → never retry the same bytes; report why
├── TransportError   a link or server did not answer → retry with back-off
├── RefusedError     a rule said no                  → show the rule and the remedy to a person
└── FaultError       this machine failed (disk, memory, process) → the step fails, the old state serves
"""

from __future__ import annotations


class HinterlandError(Exception):
    """The root; `hint` is what a person can do about it."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    @property
    def code(self) -> str:
        """Stable machine-readable name, for example `trust`."""
        return type(self).__name__.removesuffix("Error").lower()


class ContractError(HinterlandError):
    """Foreign bytes break a contract of `shared/`."""


class TrustError(HinterlandError):
    """A signature, digest, counter, target or freshness proof failed."""


class TransportError(HinterlandError):
    """A peer could not be reached or cut off; trying again may help."""


class RefusedError(HinterlandError):
    """A rule refuses the request; the hint names the rule's remedy."""


class FaultError(HinterlandError):
    """This machine could not do its part: disk full, no memory, a process died."""
