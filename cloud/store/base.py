"""What all tables share: one register, and the kinds of columns that most of them have."""

from __future__ import annotations

from sqlalchemy import BigInteger, Integer, MetaData, String

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

NAME = String(80)
DIGEST = String(64)
COUNTER = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up by itself only in its own INTEGER
