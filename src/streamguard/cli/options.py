"""The arguments that commands share, and the store they name."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Final, NoReturn

import typer

from ..errors import StreamGuardError
from ..settings import Settings
from ..stores.redis import RedisStore
from ..stores.redis.server_facts import RedisInspector
from ..stores.store import StreamStore
from .exits import CommandError, ExitCode, failure_of
from .output import Output

__all__ = ["AsJson", "Limit", "Namespace", "Owner", "Owners", "Place", "Timeout", "Url", "Yes", "place_of", "run"]

ENVIRONMENT: Final = "STREAMGUARD_URL"
_NAMESPACE: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")

Url = Annotated[
    str,
    typer.Argument(
        metavar="URL",
        help=f"Where the streams are: redis://, rediss:// or unix://. A dash reads it from ${ENVIRONMENT}, where other "
        "users of this machine do not see its password.",
        show_default=False,
    ),
]
Namespace = Annotated[str, typer.Option(help="What the application's keys begin with (its setting `namespace`).")]
Timeout = Annotated[float, typer.Option(help="Seconds one call of the store may take.", min=0.01)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON objects, one per line.")]
Owner = Annotated[str, typer.Option(help="Whose it is, as `authenticate` names them.", show_default=False)]
Owners = Annotated[bool, typer.Option("--owners", help="Name owners instead of showing a hash of them.")]
Limit = Annotated[int, typer.Option(help="Show at most so many.", min=1, max=10_000)]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]

DEFAULT_NAMESPACE: Final[str] = Settings().namespace
DEFAULT_TIMEOUT: Final = 5.0


@dataclass(frozen=True, slots=True)
class Place:
    """A Redis and a namespace in it."""

    url: str
    namespace: str
    timeout: float
    name: str
    """Where it is, without credentials: for output."""

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[StreamStore]:
        """The store, connected when first used."""
        store = RedisStore(self.url, namespace=self.namespace, command_seconds=self.timeout)
        try:
            yield store
        finally:
            await store.aclose()

    @asynccontextmanager
    async def surveyed(self) -> AsyncIterator[RedisInspector]:
        """The server itself."""
        survey = RedisInspector(self.url, namespace=self.namespace, command_seconds=self.timeout)
        try:
            yield survey
        finally:
            await survey.aclose()


def place_of(url: str, namespace: str, timeout: float) -> Place:
    """What the arguments name.

    Raises:
        CommandError: they name nothing that can be asked.
        ConfigurationError: the URL cannot be used.
    """
    if url == "-":
        url = os.environ.get(ENVIRONMENT, "")
        if not url:
            raise CommandError(ExitCode.USAGE, "usage", f"there is no URL in ${ENVIRONMENT}")
    if url.startswith("memory:"):
        raise CommandError(
            ExitCode.USAGE, "usage", "memory:// streams are in their own process; no other process can see them"
        )
    if _NAMESPACE.fullmatch(namespace) is None:
        raise CommandError(ExitCode.USAGE, "usage", "a namespace has 1 to 32 letters, digits, _ and -")
    survey = RedisInspector(url)  # nothing is connected: it reads the URL
    return Place(url, namespace, timeout, survey.address)


def run(output: Output, work: Callable[[], Awaitable[ExitCode]]) -> NoReturn:
    """Do a command's work and exit with its status; Ctrl-C exits with 130."""

    async def worked() -> ExitCode:
        return await work()

    try:
        code = asyncio.run(worked())
    except (CommandError, StreamGuardError) as exc:
        failure = exc if isinstance(exc, CommandError) else failure_of(exc)
        output.failure(failure)
        code = failure.code
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    raise typer.Exit(code)
