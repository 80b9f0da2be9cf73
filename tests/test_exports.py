"""What users import is what the package says it exports; every module says exactly what it exports."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

import streamguard
import streamguard.telemetry

from .harness.sources import python_files

SOURCE: Final = Path(streamguard.__file__).parent

RE_EXPORTING: Final = frozenset({"model"})
"""Modules, besides packages, that give names from elsewhere: on purpose, so that users have one place to look."""
RE_EXPORTED: Final[dict[str, set[str]]] = {
    "guard": {"Endpoint"},
    "messages.base": {"MAX_ID_BYTES", "MAX_OWNER_BYTES"},
    "quota.limits": {"MAX_ID_BYTES", "MAX_OWNER_BYTES"},
    "reconcile.reconciler": {"Planned", "Report", "Step"},
    "runtime.runtime": {"Health"},
    "testing.answers": {"Ending"},
    "wire.folding": {"Json"},
    "wire.partial_json": {"Json"},
}
"""Single names that others take along, each where its users look for it."""
ENTRY_POINTS: Final = frozenset({"cli.__main__", "messages.sql.__main__"})
"""Run rather than imported."""


def public_modules() -> Iterator[str]:
    """Those without an underscore in their path, by their names below `streamguard`."""
    for path in python_files(SOURCE):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        name = ".".join(parts)
        if name not in ENTRY_POINTS and not any(part.startswith("_") for part in parts):
            yield name


MODULES: Final = tuple(public_modules())


class Module:
    """What a module defines, imports and lists, as its text says."""

    def __init__(self, name: str) -> None:
        path = SOURCE.joinpath(*name.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        self.is_package = path.name == "__init__.py"
        self.listed: list[str] = []
        self.defined: set[str] = set()
        """Classes and functions."""
        self.assigned: set[str] = set()
        self.imported: set[str] = set()
        for node in ast.parse(path.read_text()).body:
            self._read(node)

    def _read(self, node: ast.stmt) -> None:
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                self.defined.add(name)
            case ast.ImportFrom(names=names) | ast.Import(names=names):
                self.imported |= {alias.asname or alias.name.partition(".")[0] for alias in names}
            case ast.Assign(targets=[ast.Name(id="__all__")], value=value):
                self.listed = ast.literal_eval(value)
            case ast.AnnAssign(target=ast.Name(id="__all__"), value=ast.expr() as value):
                self.listed = ast.literal_eval(value)
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                self.assigned.add(name)
            case ast.If(body=body, orelse=orelse) | ast.Try(body=body, orelse=orelse):
                for inner in (*body, *orelse):
                    self._read(inner)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_lists_what_is_public_in_it(name: str) -> None:
    """Its classes and functions. A constant is its own, unless other modules use it."""
    module = Module(name)
    public = {one for one in module.defined if not one.startswith("_")}
    assert public <= set(module.listed), "not in __all__"
    assert not [one for one in module.listed if one.startswith("_")]
    assert module.listed == sorted(set(module.listed), key=_as_ruff_sorts)
    known = module.defined | module.assigned
    if not module.is_package and name not in RE_EXPORTING:
        assert set(module.listed) <= known | RE_EXPORTED.get(name, set()), "in __all__, but from another module"


@pytest.mark.parametrize("name", MODULES)
def test_what_a_module_lists_exists(name: str) -> None:
    try:
        module = importlib.import_module(f"streamguard.{name}" if name else "streamguard")
    except ModuleNotFoundError as exc:
        if (exc.name or "").startswith("streamguard"):
            raise
        return  # an extra that is not installed here
    for one in getattr(module, "__all__", ()):
        getattr(module, one)


def test_modules_import_from_each_other_only_what_is_listed() -> None:
    taken: list[str] = []
    listed = {name: set(Module(name).listed) for name in MODULES}
    for path in python_files(SOURCE):
        package = list(path.relative_to(SOURCE).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ImportFrom) or not node.level:
                continue
            whence = ".".join([*package[: len(package) - node.level], *(node.module or "").split(".")]).strip(".")
            for alias in node.names:
                if whence not in listed or f"{whence}.{alias.name}".strip(".") in listed:
                    continue
                if alias.name not in listed[whence]:
                    taken.append(f"{path.relative_to(SOURCE)}: {whence}.{alias.name}")
    assert taken == []


def test_every_public_name_is_exported_and_every_export_exists() -> None:
    # Submodules show up here as soon as anybody imports them.
    public = {
        name
        for name, value in vars(streamguard).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert public == set(streamguard.__all__)
    assert list(streamguard.__all__) == sorted(streamguard.__all__, key=_as_ruff_sorts)


def test_all_errors_are_exported() -> None:
    # Those of message stores and quotas are for who writes one: `streamguard.errors` names them.
    expected = {name for name in streamguard.errors.__all__ if not name.startswith(("Message", "Quota"))}
    assert expected <= set(streamguard.__all__)


def test_telemetry_exports_its_observers() -> None:
    assert streamguard.telemetry.__all__ == ["SentryObserver", "StructlogObserver"]


def _as_ruff_sorts(name: str) -> tuple[int, str]:
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)
