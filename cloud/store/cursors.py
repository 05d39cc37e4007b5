"""How far readers of a growing table have come."""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from cloud.store.tables import cursors


def cursor(connection: Connection, name: str) -> int:
    """Id of the last row that the reader `name` is done with; 0 before the first."""
    return int(connection.scalar(select(cursors.c.value).where(cursors.c.name == name)) or 0)


def set_cursor(connection: Connection, name: str, value: int) -> None:
    """Remember it, in the transaction that holds what was made of those rows."""
    if connection.execute(update(cursors).where(cursors.c.name == name).values(value=value)).rowcount == 0:
        connection.execute(cursors.insert().values(name=name, value=value))
