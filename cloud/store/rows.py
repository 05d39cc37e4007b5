"""Rows as values: what a statement selects becomes structs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, Executable, RowMapping

from shared.errors import RefusedError

T = TypeVar("T", bound=msgspec.Struct)


class UnknownError(RefusedError):
    """There is nothing of that name."""


def many(connection: Connection, statement: Executable, kind: type[T]) -> list[T]:
    """All rows, as `kind`; columns are matched to fields by name."""
    return [_convert(row, kind) for row in connection.execute(statement).mappings()]


def one(
    connection: Connection, statement: Executable, kind: type[T], parameters: Mapping[str, Any] | None = None
) -> T | None:
    """The first row as `kind`, or None; `parameters` are those of a statement that was built before."""
    row = connection.execute(statement, parameters).mappings().first()
    return None if row is None else _convert(row, kind)


def columns(row: msgspec.Struct) -> dict[str, Any]:
    """The values of a struct for an insert; nested structs become plain JSON values."""
    built: dict[str, Any] = msgspec.to_builtins(row, builtin_types=(bytes,))
    return built


def _convert(row: RowMapping, kind: type[T]) -> T:
    # SQLAlchemy's column names are a subclass of str, which msgspec refuses as keys.
    return msgspec.convert({str(name): value for name, value in row.items()}, kind)
