"""What users import is what the package says it exports; every module says exactly what it exports."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from functools import cached_property
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


def _modules() -> Iterator[tuple[str, Path]]:
    """Each module's name below `streamguard`, and its file."""
    for path in python_files(SOURCE):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def public_modules() -> Iterator[str]:
    """Those without an underscore in their path, by their names below `streamguard`."""
    for name, _ in _modules():
        if name not in ENTRY_POINTS and not any(part.startswith("_") for part in name.split(".")):
            yield name


MODULES: Final = tuple(public_modules())


class Module:
    """What a module defines, imports and lists, as its text says."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_package = path.name == "__init__.py"
        self.listed: list[str] = []
        self.defined: set[str] = set()
        """Classes and functions."""
        self.assigned: set[str] = set()
        self.imported: set[str] = set()
        self._tree = ast.parse(path.read_text())
        for node in self._tree.body:
            self._read(node)

    @cached_property
    def relative_imports(self) -> list[ast.ImportFrom]:
        """Those from others of the package, in functions too."""
        found: list[ast.ImportFrom] = []
        blocks: list[ast.AST] = [self._tree]
        while blocks:
            for node in ast.iter_child_nodes(blocks.pop()):
                if isinstance(node, ast.ImportFrom):
                    found += [node] * bool(node.level)
                elif not isinstance(node, ast.expr):  # no expression has a statement in it
                    blocks.append(node)
        return found

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


@pytest.fixture(scope="module")
def modules() -> dict[str, Module]:
    """Every module, private ones and entry points too, by its name. To parse them all takes a second."""
    return {name: Module(path) for name, path in _modules()}


def test_modules_list_what_is_public_in_them(modules: dict[str, Module]) -> None:
    """Their classes and functions. A constant is its module's own, unless other modules use it."""
    complaints: list[str] = []
    for name in MODULES:
        module = modules[name]
        public = {one for one in module.defined if not one.startswith("_")}
        known = module.defined | module.assigned | RE_EXPORTED.get(name, set())
        if left_out := public - set(module.listed):
            complaints.append(f"{name}: not in __all__: {sorted(left_out)}")
        if private := [one for one in module.listed if one.startswith("_")]:
            complaints.append(f"{name}: private, but in __all__: {private}")
        if module.listed != sorted(set(module.listed), key=_as_ruff_sorts):
            complaints.append(f"{name}: __all__ is not sorted, or has a name twice")
        if not module.is_package and name not in RE_EXPORTING and (others := set(module.listed) - known):
            complaints.append(f"{name}: in __all__, but from another module: {sorted(others)}")
    assert not complaints, "\n".join(complaints)


def test_what_modules_list_exists() -> None:
    missing: list[str] = []
    for name in MODULES:
        try:
            module = importlib.import_module(f"streamguard.{name}" if name else "streamguard")
        except ModuleNotFoundError as exc:
            if (exc.name or "").startswith("streamguard"):
                raise
            continue  # an extra that is not installed here
        missing += [f"{name}: {one}" for one in getattr(module, "__all__", ()) if not hasattr(module, one)]
    assert missing == []


def test_modules_import_from_each_other_only_what_is_listed(modules: dict[str, Module]) -> None:
    taken: list[str] = []
    listed = {name: set(modules[name].listed) for name in MODULES}
    for module in modules.values():
        path = module.path
        package = list(path.relative_to(SOURCE).with_suffix("").parts)
        for node in module.relative_imports:
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
