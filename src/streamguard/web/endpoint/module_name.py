"""The name of a module that is the same in every process, however the process was started.

`__module__` is not: `python main.py` gives `__main__` to the file that is `main` under `uvicorn main:app`, and the
start of the module search path decides between `main` and `shop.main`. The name is stored with every stream, so that
every worker can finish it: one file must have one name.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

__all__ = ["module_name"]

_PACKAGE: Final = "__init__"


def module_name(name: str) -> str:
    """The name of the loaded module `name`: the packages that its file is in, and its own.

    A directory is a package if it has an `__init__.py` and its name can be imported; the directory of a release
    (`app-1.2.3`) is not one. A module without a file on disk (of a notebook, a zip archive, a frozen program) keeps its
    own name.
    """
    head, _, tail = name.rpartition(".")
    if head:  # imported as part of a package
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
    if parts == [_PACKAGE]:  # the directories above it cannot be imported with it
        return folder.name
    while (folder / f"{_PACKAGE}.py").is_file() and folder.name.isidentifier():
        parts.append(folder.name)
        folder = folder.parent
    return ".".join(reversed(parts))


def _own_name(name: str) -> str:
    """The own name of a module without a file; of the main module, the name it was run as."""
    spec = getattr(sys.modules.get(name), "__spec__", None)
    called = getattr(spec, "name", None)
    return called if isinstance(called, str) else name
