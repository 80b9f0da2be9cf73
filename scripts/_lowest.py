"""Prints the lowest versions that pyproject.toml allows, as constraints for pip.

`_lowest.py EXTRA…`: of the dependencies and those extras. `_lowest.py --only EXTRA`: of that extra alone.
`_lowest.py --python`: the oldest Python, as `3.11`. Of two bounds of one package the higher one counts.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

__all__ = ["lowest_of"]

PYPROJECT: Final = Path(__file__).resolve().parents[1] / "pyproject.toml"
BOUND: Final = re.compile(r"(?P<name>[\w.-]+)(\[[^\]]*\])?\s*>=\s*(?P<version>[\d.]+)")


def lowest_of(requirements: Iterable[str]) -> dict[str, str]:
    """The lowest version of each package that these requirements name.

    Raises:
        ValueError: one has no lower bound.
    """
    found: dict[str, str] = {}
    for requirement in requirements:
        bound = BOUND.match(requirement)
        if bound is None:
            raise ValueError(f"no lower bound: {requirement}")
        name, version = bound["name"], bound["version"]
        found[name] = max(found.get(name, version), version, key=_numbers)
    return found


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


def main(arguments: list[str]) -> None:
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    if arguments == ["--python"]:
        print(project["requires-python"].removeprefix(">="))
        return
    only = arguments[:1] == ["--only"]
    extras = arguments[1:] if only else arguments
    unknown = set(extras) - set(project["optional-dependencies"])
    if unknown:
        raise SystemExit(f"pyproject.toml has no extra {', '.join(sorted(unknown))}")
    requirements = [] if only else list(project["dependencies"])
    for extra in extras:
        requirements += project["optional-dependencies"][extra]
    for name, version in lowest_of(requirements).items():
        print(f"{name}=={version}")


if __name__ == "__main__":
    main(sys.argv[1:])
