"""What was disclosed about each population, over all runs, and what may be."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, Table, delete, select, update

from cloud.store.privacy_tables import budgets, disclosures, proposals
from cloud.store.rows import columns, many, one


class Disclosure(msgspec.Struct, frozen=True, kw_only=True):
    """A sum that was made known under noise."""

    run: str
    round: int
    release: str
    population: str
    at: float
    multiplier: float
    epsilon: float
    """Of the population after it, over all runs, at `delta`."""

    delta: float


class BudgetRow(msgspec.Struct, frozen=True, kw_only=True):
    """What a population was promised."""

    population: str
    epsilon: float
    delta: float
    at: float
    by: str
    reason: str


class Privacy:
    """Disclosures and budgets in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def disclose(self, row: Disclosure) -> bool:
        """Note a disclosure; False for one that is told again."""
        key = (disclosures.c.run == row.run, disclosures.c.round == row.round, disclosures.c.release == row.release)
        if one(self._connection, select(disclosures).where(*key), Disclosure) is not None:
            return False
        self._connection.execute(disclosures.insert().values(**columns(row)))
        return True

    def disclosures(self, population: str) -> list[Disclosure]:
        """All about one population, oldest first."""
        query = select(disclosures).where(disclosures.c.population == population)
        order = (disclosures.c.at, disclosures.c.run, disclosures.c.round, disclosures.c.release)
        return many(self._connection, query.order_by(*order), Disclosure)

    def populations(self) -> list[str]:
        """Whoever has a budget or disclosed something, by name."""
        found = [self._connection.scalars(select(column).distinct()) for column in _NAMES]
        return sorted({str(name) for names in found for name in names})

    def budget(self, population: str) -> BudgetRow | None:
        """What the population was promised, or None."""
        return one(self._connection, select(budgets).where(budgets.c.population == population), BudgetRow)

    def put_budget(self, row: BudgetRow) -> None:
        """Insert or replace a promise; what was proposed before it is over."""
        self._put(budgets, row)
        self._connection.execute(delete(proposals).where(proposals.c.population == row.population))

    def proposal(self, population: str) -> BudgetRow | None:
        """The promise that waits for people, or None."""
        return one(self._connection, select(proposals).where(proposals.c.population == population), BudgetRow)

    def propose(self, row: BudgetRow) -> None:
        """Insert or replace what waits for people."""
        self._put(proposals, row)

    def _put(self, table: Table, row: BudgetRow) -> None:
        where = table.c.population == row.population
        if self._connection.execute(update(table).where(where).values(**columns(row))).rowcount == 0:
            self._connection.execute(table.insert().values(**columns(row)))


_NAMES = (disclosures.c.population, budgets.c.population)
