"""The servers under test: one small file each. `contract.py` says how to add one."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType, ModuleType
from typing import Final

from .contract import Contender

__all__ = ["contenders", "module_of"]

_PARTS: Final = frozenset({"contract", "node", "source"})


@cache
def _modules() -> Mapping[str, ModuleType]:
    """The module of each contender, by the contender's name."""
    found = sorted(info.name for info in pkgutil.iter_modules(__path__) if info.name not in _PARTS)
    modules = [importlib.import_module(f"{__name__}.{name}") for name in found]
    return {contender.name: module for module in modules for contender in module.CONTENDERS}


def module_of(name: str) -> ModuleType:
    """The module whose `app` makes the contender `name`."""
    return _modules()[name]


@cache
def contenders() -> Mapping[str, Contender]:
    """All contenders by name."""
    return MappingProxyType(
        {contender.name: contender for module in _modules().values() for contender in module.CONTENDERS}
    )
