"""Messages in a SQL database, through SQLAlchemy 2 and an asyncio driver: SQLite, PostgreSQL, MySQL and MariaDB.

Importing this package needs nothing extra. Using its names needs `pip install 'streamguard-asgi[sql]'` and a driver,
which the extras `sqlite`, `postgresql` and `mysql` install. `python -m streamguard.messages.sql` creates the tables.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from ...distribution import install_command
from ...errors import ConfigurationError

if TYPE_CHECKING:
    from .store import SQLMessageStore
    from .tables import MessageTables

__all__ = ["MessageTables", "SQLMessageStore"]

_EXPORTS: Final = {
    "MessageTables": "streamguard.messages.sql.tables",
    "SQLMessageStore": "streamguard.messages.sql.store",
}
"""The module of each name. A name is imported on first use, because it needs SQLAlchemy."""


if not TYPE_CHECKING:  # a type checker would take any name for an export

    def __getattr__(name: str) -> object:
        if name not in _EXPORTS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            module = import_module(_EXPORTS[name])
        except ImportError as exc:
            if (exc.name or "").partition(".")[0] not in ("sqlalchemy", "greenlet"):
                raise
            raise ConfigurationError(f"{__name__}.{name} needs SQLAlchemy: `{install_command('sql')}`") from exc
        found: object = getattr(module, name)
        globals()[name] = found
        return found
