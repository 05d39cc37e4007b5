"""A run's own view of its population's budget: what was paid before it, and what its ledger says it paid."""

from __future__ import annotations

from cloud.training.events import BudgetReached, PrivacySpent
from cloud.training.ledger import RunLedger
from cloud.training.private.accountant import BudgetError, check_budget, distinct, epsilon
from cloud.training.private.terms import Charge, Noise, Private, population_of
from shared.clock import Clock


class Purse:
    """Pays for disclosures; each payment is durable before it returns."""

    def __init__(self, terms: Private, noise: Noise, *, run: str, task: str, ledger: RunLedger, clock: Clock) -> None:
        self.population = population_of(terms, task=task)
        self._noise = noise
        self._run = run
        self._ledger = ledger
        self._clock = clock
        told = [event for event in ledger.events() if isinstance(event, PrivacySpent)]
        self._charges = [*terms.spent, *(charge_of(event, run=run) for event in told)]

    @property
    def spent(self) -> float:
        """The population's ε so far."""
        return epsilon(self._charges, self._noise.delta)

    def afford(self, round_: int) -> None:
        """Check that one more disclosure fits, before a round is begun for it.

        Raises:
            BudgetError: it does not; the ledger says so.
        """
        self._fit(self._charge(round_, release=""))

    def pay(self, round_: int, release: str) -> None:
        """Pay for a disclosure, unless it was paid for: then it tells nothing new.

        Raises:
            BudgetError: it does not fit any more; nothing may be disclosed.
        """
        charge = self._charge(round_, release=release)
        if len(distinct([*self._charges, charge])) == len(distinct(self._charges)):
            return
        after = self._fit(charge)
        self._ledger.append(
            PrivacySpent(
                at=self._clock.now(),
                round=round_,
                population=self.population,
                release=release,
                multiplier=charge.multiplier,
                epsilon=after,
                delta=self._noise.delta,
            )
        )
        self._charges.append(charge)

    def payments(self, round_: int) -> int:
        """How often this run paid for a round."""
        return sum(charge.run == self._run and charge.round == round_ for charge in self._charges)

    def _charge(self, round_: int, *, release: str) -> Charge:
        return Charge(run=self._run, round=round_, release=release, multiplier=self._noise.multiplier)

    def _fit(self, charge: Charge) -> float:
        try:
            return check_budget([*self._charges, charge], self._noise, population=self.population)
        except BudgetError as error:
            self._ledger.append(
                BudgetReached(
                    at=self._clock.now(),
                    round=charge.round,
                    population=self.population,
                    epsilon=self.spent,
                    delta=self._noise.delta,
                    reason=str(error),
                )
            )
            raise


def charge_of(event: PrivacySpent, *, run: str) -> Charge:
    """What a line of a run's ledger says was paid."""
    return Charge(run=run, round=event.round, release=event.release, multiplier=event.multiplier)
