"""The arguments that commands share, and the store they name: a Redis, or one that another package brings."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Final, NoReturn

import typer

from ..errors import ConfigurationError, StreamGuardError
from ..settings import Settings
from ..stores import StreamLog
from ..stores.redis.server_facts import RedisInspector
from ..stores.schemes import factory_of, has_credentials, other_schemes, redis_schemes, scheme_of
from .exits import CommandError, ExitCode, failure_of
from .output import Output

__all__ = [
    "DEFAULT_NAMESPACE",
    "DEFAULT_TIMEOUT",
    "AsJson",
    "Limit",
    "Namespace",
    "Owner",
    "Owners",
    "Place",
    "Timeout",
    "Url",
    "Yes",
    "place_of",
    "run",
]

ENVIRONMENT: Final = "STREAMGUARD_URL"
_NAMESPACE: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")

Url = Annotated[
    str,
    typer.Argument(
        metavar="URL",
        help="Where the streams are: redis://, rediss://, unix://, or as redis+sentinel:// or redis+cluster://, "
        "of which each has a form with rediss. "
        f"A dash reads it from ${ENVIRONMENT}, where other users of this machine do not see its password.",
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
    """A store and a namespace in it."""

    url: str = field(repr=False)
    namespace: str
    timeout: float
    name: str
    """Where it is, without credentials: for output."""
    scheme: str
    """By which its store is registered."""

    @property
    def is_redis(self) -> bool:
        """Whether it is a Redis of our own, whose server can be examined."""
        return self.scheme in redis_schemes()

    @property
    def settings(self) -> Settings:
        """What its store is made with."""
        return Settings(namespace=self.namespace, command_seconds=self.timeout)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[StreamLog]:
        """The store. A Redis is connected when it is first used; any other store is started."""
        store = factory_of(self.url)(self.url, self.settings)
        try:
            if not self.is_redis:
                await store.start()
            yield store
        except StreamGuardError as exc:
            if not has_credentials(str(exc), self.url):
                raise
            raise self.failure_of(exc) from None
        finally:
            await store.aclose()

    def failure_of(self, error: StreamGuardError) -> CommandError:
        """How an error of the store's ends a command."""
        failure = failure_of(error)
        return CommandError(failure.code, failure.name, self.without_credentials(failure.message))

    def without_credentials(self, text: str) -> str:
        """A text of the store's, unless it repeats credentials of the URL."""
        return "the store's text is left out, since it has credentials" if has_credentials(text, self.url) else text

    def cannot(self, store: StreamLog, what: str, role: str) -> CommandError:
        """What a command says that a store cannot do, for the want of a role."""
        return CommandError(
            ExitCode.USAGE,
            "unsupported",
            f"a store of {self.scheme}:// cannot {what}: {type(store).__name__} has no {role}",
        )

    @asynccontextmanager
    async def surveyed(self) -> AsyncIterator[RedisInspector]:
        """The server itself, of a Redis."""
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
    scheme = scheme_of(url)
    if scheme is None or scheme in redis_schemes():
        return Place(url, namespace, timeout, _redis_address(url), scheme or "redis")
    return Place(url, namespace, timeout, _foreign_name(url, scheme, namespace), scheme)


def _redis_address(url: str) -> str:
    """Where a Redis is.

    Raises:
        ConfigurationError: the URL cannot be used. The text names stores of other packages too, if there are any.
    """
    try:
        return RedisInspector(url).address  # nothing is connected: it reads the URL
    except ConfigurationError as exc:
        others = [f"{scheme}://" for scheme in other_schemes()]
        if not others or scheme_of(url) is not None:
            raise
        raise ConfigurationError(f"{exc}; other packages bring {', '.join(others)}") from None


def _foreign_name(url: str, scheme: str, namespace: str) -> str:
    """What output calls a store of another package.

    Raises:
        CommandError: its streams are in their own process.
        ConfigurationError: the URL cannot be used, or the package is broken.
    """
    store = factory_of(url)(url, Settings(namespace=namespace))  # nothing is connected
    if not store.shared:
        raise CommandError(
            ExitCode.USAGE, "usage", f"{scheme}:// streams are in their own process; no other process can see them"
        )
    name = store.server
    return f"{scheme}://" if name is None or has_credentials(name, url) else name


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
