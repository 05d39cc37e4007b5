"""Rows as values: what a statement selects becomes structs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, Executable, Insert, RowMapping, Update

from shared.errors import RefusedError

T = TypeVar("T", bound=msgspec.Struct)

MANY = 500
"""Names in one question; SQLite takes 32,766 parameters, older ones 999."""


class UnknownError(RefusedError):
    """There is nothing of that name."""


def many(
    connection: Connection, statement: Executable, kind: type[T], parameters: Mapping[str, Any] | None = None
) -> list[T]:
    """All rows as `kind`, columns matched to fields by name; `parameters` are those of a statement built before."""
    return [_convert(row, kind) for row in connection.execute(statement, parameters).mappings()]


def one(
    connection: Connection, statement: Executable, kind: type[T], parameters: Mapping[str, Any] | None = None
) -> T | None:
    """The first row as `kind`, or None; `parameters` as for `many`."""
    row = connection.execute(statement, parameters).mappings().first()
    return None if row is None else _convert(row, kind)


def columns(row: msgspec.Struct) -> dict[str, Any]:
    """The values of a struct for an insert; nested structs become plain JSON values."""
    built: dict[str, Any] = msgspec.to_builtins(row, builtin_types=(bytes,))
    return built


def write_all(connection: Connection, statement: Insert | Update, rows: Sequence[Mapping[str, Any]]) -> None:
    """Execute a statement that was built before once for each of `rows`, in their order; not at all for none."""
    if rows:
        connection.execute(statement, rows)


def batched(names: Sequence[str], size: int = MANY) -> Iterator[Sequence[str]]:
    """Pieces of at most `size`."""
    for start in range(0, len(names), size):
        yield names[start : start + size]


def _convert(row: RowMapping, kind: type[T]) -> T:
    # SQLAlchemy's column names are a subclass of str, which msgspec refuses as keys.
    return msgspec.convert({str(name): value for name, value in row.items()}, kind)
