"""Model lines: the policy of each model, as documents that `cloud.models.line` reads."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, select, update

from cloud.store.rows import UnknownError, columns, many, one
from cloud.store.tables import model_lines


class LineRow(msgspec.Struct, frozen=True, kw_only=True):
    """A model line as it was applied last."""

    name: str
    document: dict[str, Any]
    updated_at: float


class Lines:
    """Model lines in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, row: LineRow) -> None:
        """Insert or replace a line."""
        changed = self._connection.execute(
            update(model_lines).where(model_lines.c.name == row.name).values(**columns(row))
        )
        if changed.rowcount == 0:
            self._connection.execute(model_lines.insert().values(**columns(row)))

    def find(self, name: str) -> LineRow | None:
        """The line, or None."""
        return one(self._connection, select(model_lines).where(model_lines.c.name == name), LineRow)

    def get(self, name: str) -> LineRow:
        """The line.

        Raises:
            UnknownError: there is none of that name.
        """
        found = self.find(name)
        if found is None:
            raise UnknownError(f"no model line {name!r}", hint="Apply one: `hinterland models apply -f line.toml`.")
        return found

    def all(self) -> list[LineRow]:
        """Every line by name."""
        return many(self._connection, select(model_lines).order_by(model_lines.c.name), LineRow)
