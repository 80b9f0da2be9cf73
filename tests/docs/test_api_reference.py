"""The reference has everything that a user calls: what it is, its parameters, and an example that runs."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from enum import Enum
from typing import Final

import pytest

from streamguard.testing import GuardedApp

from .samples import ROOT, blocks, run_page

pytestmark = pytest.mark.anyio

PAGES: Final = sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs/reference").glob("*.md"))
MODULES: Final = (
    "streamguard",
    "streamguard.client",
    "streamguard.testing",
    "streamguard.contrib.anthropic",
    "streamguard.contrib.fastapi",
    "streamguard.contrib.langchain",
    "streamguard.contrib.langgraph",
    "streamguard.contrib.litellm",
    "streamguard.contrib.litestar",
    "streamguard.contrib.openai",
    "streamguard.contrib.openai_agents",
    "streamguard.contrib.pydantic_ai",
)
STORES: Final = (
    "streamguard.messages.MemoryMessageStore",
    "streamguard.messages.RedisMessageStore",
    "streamguard.messages.sql.SQLMessageStore",
    "streamguard.quota.CallableQuota",
    "streamguard.quota.MemoryQuotaStore",
    "streamguard.quota.Quota",
    "streamguard.quota.RedisQuotaStore",
)
NOT_MADE_BY_USERS: Final = frozenset(
    {"Answer", "Endpoint", "EventStream", "NoStream", "Run", "StartedRun", "StoreFaults", "Visitor"}
)
"""Classes whose constructor is no user's."""
ELSEWHERE: Final = {
    "Settings": "docs/reference/settings.md",
    "StreamRule": "docs/reference/python.md",  # most of its options are those of `stream`
}
"""Classes whose parameters, or some of them, another page or docstring explains."""

_DIRECTIVE: Final = re.compile(r"^::: (?P<path>[\w.]+)\n(?P<options>(?:^    .*\n)*)", re.M)


def public() -> list[str]:
    """Every name that a user calls, with its module."""
    names = [f"{module}.{name}" for module in MODULES for name in importlib.import_module(module).__all__]
    return names + list(STORES)


def found(path: str) -> object:
    """The object at a dotted path."""
    module, names = path, list[str]()
    while True:
        try:
            one: object = importlib.import_module(module)
            break
        except ModuleNotFoundError:
            module, _, name = module.rpartition(".")
            names.insert(0, name)
    for name in names:
        one = getattr(one, name)
    return one


def described() -> Iterator[tuple[str, object]]:
    """Each object that a page has, by its name."""
    for page in PAGES:
        for directive in _DIRECTIVE.finditer((ROOT / page).read_text()):
            path, one = directive["path"], found(directive["path"])
            yield path.rpartition(".")[2], one
            if inspect.ismodule(one) and "members: false" not in directive["options"]:
                named = re.search(r"members: \[([^\]]*)\]", directive["options"])
                members = named[1].split(", ") if named else getattr(one, "__all__", vars(one))
                yield from ((name, getattr(one, name)) for name in members)


@pytest.fixture(scope="module")
def reference() -> dict[str, list[object]]:
    there: dict[str, list[object]] = {}
    for name, one in described():
        there.setdefault(name, []).append(one)
    return there


def is_error(one: object) -> bool:
    return isinstance(one, type) and issubclass(one, BaseException)


@pytest.mark.parametrize("path", public())
def test_a_name_is_in_the_reference_with_its_docstring(path: str, reference: dict[str, list[object]]) -> None:
    name, one = path.rpartition(".")[2], found(path)
    if "Suite" in name:  # a class of tests: each of its clauses is documented where the contract is
        assert any(f"`{name}`" in (ROOT / page).read_text() for page in PAGES)
    else:
        assert any(other is one or other == one for other in reference.get(name, ())), f"{path} is on no page"
    if inspect.isclass(one) or inspect.isroutine(one):
        assert inspect.getdoc(one), f"{path} has no docstring"


@pytest.mark.parametrize("path", [path for path in public() if not is_error(found(path))])
def test_a_name_has_an_example_that_runs(path: str) -> None:
    """On a page of the reference; a class of tests in any page. What raises an error is its example."""
    name = path.rpartition(".")[2]
    pages = PAGES if "Suite" not in name else [*PAGES, "docs/how-to/bring-your-own-store.md"]
    shown = "\n".join(text for page in pages for _, text in blocks(page, "python"))
    if "Suite" in name and re.search(rf"\b{name}\b", shown) is None:
        return  # the table of the page about testing names it, beside one that is shown
    assert re.search(rf"\b{name}\b", shown), f"no example has {path}"


def parameters(function: object) -> list[str]:
    assert callable(function)
    return [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]


def undocumented(path: str) -> Iterator[str]:
    """Parameters that neither the docstring of a function nor that of its class mentions."""
    name, one = path.rpartition(".")[2], found(path)
    if inspect.isfunction(one):
        yield from _missing(one, inspect.getdoc(one) or "")
    elif inspect.isclass(one) and not is_error(one) and "Suite" not in name and not issubclass(one, Enum):
        about = (inspect.getdoc(one) or "") + (inspect.getdoc(one.__init__) or "")
        made = name not in NOT_MADE_BY_USERS and name not in ELSEWHERE and not dataclasses.is_dataclass(one)
        if made:
            yield from _missing(one, about)
        for method, function in vars(one).items():
            if not method.startswith("_") and inspect.isfunction(function) and path not in STORES:
                text = about + (inspect.getdoc(getattr(one, method)) or "")
                yield from (f"{method}: {missing}" for missing in _missing(function, text))


def _missing(function: object, text: str) -> list[str]:
    return [
        name
        for name in parameters(function)
        if not re.search(rf"`[^`]*\b{name}\b[^`]*`|^\s*\*{{0,2}}{name}:", text, re.M)
    ]


@pytest.mark.parametrize("path", public())
def test_every_parameter_is_documented(path: str) -> None:
    if found(path).__class__.__module__ not in ("typing", "collections.abc"):
        assert not list(undocumented(path))


@pytest.mark.parametrize(
    "test", re.findall(r"^async def (test_\w+)", (ROOT / "docs/reference/testing.md").read_text(), re.M)
)
async def test_the_examples_about_testing_pass(test: str) -> None:
    with run_page("docs/reference/testing.md", redis_url="memory://") as module:
        async with GuardedApp(module.app, module.guard, headers={"X-User": "ann"}) as ann:
            await getattr(module, test)(ann)
