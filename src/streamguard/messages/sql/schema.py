"""Creates the tables, and checks whether existing tables can be used."""

from __future__ import annotations

from sqlalchemy import inspect, literal_column, select
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from .tables import BYTES_FOR_IDS, MessageTables

__all__ = ["create_missing", "examine"]


async def create_missing(connection: AsyncConnection, tables: MessageTables) -> None:
    """Create the missing tables."""
    await connection.run_sync(tables.metadata.create_all, tables=list(tables.every))


async def examine(connection: AsyncConnection, tables: MessageTables) -> list[str]:
    """Problems, as texts for the operator: missing tables or columns, and on MySQL a connection whose character set
    cannot carry every text."""
    warnings = await connection.run_sync(_missing, tables)
    if connection.dialect.name in BYTES_FOR_IDS:
        charset = await connection.scalar(select(literal_column("@@character_set_client")))
        if charset != "utf8mb4":
            warnings.append(f"the connection's character set is {charset}: texts need utf8mb4 (?charset=utf8mb4)")
    return warnings


def _missing(connection: Connection, tables: MessageTables) -> list[str]:
    found = inspect(connection)
    warnings = []
    for table in tables.every:
        if not found.has_table(table.name, schema=table.schema):
            warnings.append(f"there is no table {table.fullname}: messages cannot be saved; see create_tables")
            continue
        there = {column["name"] for column in found.get_columns(table.name, schema=table.schema)}
        if lacking := sorted(set(table.columns.keys()) - there):
            warnings.append(f"the table {table.fullname} lacks {', '.join(lacking)}: messages cannot be saved")
    return warnings
