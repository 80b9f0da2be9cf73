"""Drops the connections of a pool once one of them leads to a server that takes no writes.

A primary that was demoted goes on answering on the connections that it has: only new ones may lead to the new primary.
SQLAlchemy drops all older connections of a pool, each when it is next taken, once it is told that one of them was lost.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from .failures import only_reads

__all__ = ["in_step", "watch"]

in_step: Final = ContextVar("streamguard_sql_step", default=False)
"""Whether a statement is a message store's: on a host's engine, others are left alone."""


def watch(engine: AsyncEngine) -> None:
    """Look for such a server in what this engine's connections raise. Once for each engine, however often it is asked
    for."""
    event.listen(engine.sync_engine, "handle_error", _find)


def _find(context: ExceptionContext) -> None:
    error = context.sqlalchemy_exception
    if in_step.get() and isinstance(error, DBAPIError) and only_reads(error):
        context.is_disconnect = True
