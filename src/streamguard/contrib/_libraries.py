"""Imports model libraries where they are first needed."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from ..distribution import install_command
from ..errors import ConfigurationError

__all__ = ["library"]


def library(module: str, *, extra: str) -> ModuleType:
    """Import a module of an optional library.

    Raises:
        ConfigurationError: the library is not installed. The text names the command that installs it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0] != module.partition(".")[0]:
            raise  # the library is there, and something that it needs is not
        raise ConfigurationError(f"this needs {module.partition('.')[0]}: {install_command(extra)}") from exc
