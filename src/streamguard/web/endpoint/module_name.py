"""What a module is called in every process, however that was started.

`__module__` depends on it: `python main.py` makes `__main__` of what `uvicorn main:app` calls `main`, and where the
module search begins decides whether it is `main` or `shop.main`. The name is stored with every stream, so that any
worker can see to it; it must be one name for one file.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

__all__ = ["module_name"]

_PACKAGE: Final = "__init__"


def module_name(name: str) -> str:
    """The name of the loaded module `name`: the packages that its file lies in, and its own.

    A directory is a package if there is an `__init__.py` in it and its name can be imported; so the directory of a
    release (`app-1.2.3`) is none. A module that is no file on disk (of a notebook, a zip archive, a frozen program) is
    called as it calls itself.
    """
    head, _, tail = name.rpartition(".")
    if head:  # imported as part of a package, which says so itself
        package = getattr(sys.modules.get(head), "__file__", None) is not None
        return f"{module_name(head)}.{tail}" if package else tail
    found = getattr(sys.modules.get(name), "__file__", None)
    path = Path(found) if isinstance(found, str) else None
    if path is None or (path.stem == _PACKAGE and name != "__main__"):
        return _own_name(name)
    if not path.is_file():
        return _own_name(name)
    path = path.absolute()
    parts = [path.name.partition(".")[0]]
    folder = path.parent
    if parts == [_PACKAGE]:  # nothing above it can be imported with it
        return folder.name
    while (folder / f"{_PACKAGE}.py").is_file() and folder.name.isidentifier():
        parts.append(folder.name)
        folder = folder.parent
    return ".".join(reversed(parts))


def _own_name(name: str) -> str:
    """What a module without a file calls itself; for the main one, what it was run as."""
    spec = getattr(sys.modules.get(name), "__spec__", None)
    called = getattr(spec, "name", None)
    return called if isinstance(called, str) else name
