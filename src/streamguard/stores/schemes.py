"""Stream stores by the scheme of their URL: our own, and those that installed packages bring as entry points."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Final, NoReturn, Protocol
from urllib.parse import parse_qsl, unquote

from ..errors import ConfigurationError
from ..settings import Settings
from .partial import complete
from .roles.stream_log import StreamLog
from .store import StreamStore

__all__ = [
    "GROUP",
    "StoreFactory",
    "factory_of",
    "has_credentials",
    "make_store",
    "other_schemes",
    "own_schemes",
    "redis_schemes",
    "scheme_of",
]

GROUP: Final = "streamguard.stores"
"""The entry-point group in `pyproject.toml`: `[project.entry-points."streamguard.stores"]`, scheme = factory."""

_MEMORY: Final = "streamguard.stores.memory.factory:memory_store"
_REDIS: Final = "streamguard.stores.redis.factory:redis_store"
_OWN: Final = {
    scheme: EntryPoint(scheme, factory, GROUP)
    for scheme, factory in (
        ("memory", _MEMORY),
        *(
            (name, _REDIS)
            for kind in ("", "+sentinel", "+cluster")
            for name in ("redis" + kind, "rediss" + kind, *(("unix",) if not kind else ()))
        ),
    )
}
"""As our own `pyproject.toml` has them. They need no metadata (a program frozen into one file has none), no search
through all that is installed, and no other package can take their place."""


class StoreFactory(Protocol):
    """Makes a stream store for a URL: what the entry point of a scheme names."""

    def __call__(self, url: str, settings: Settings, /) -> StreamLog:
        """A store, with as many roles as it has, that is not started; nothing is connected yet.

        A guard calls it when it is constructed, to find a URL that cannot be used, and each time it starts.

        Args:
            url: whole, with its scheme. It may hold credentials: no text may repeat them.
            settings: the guard's. `namespace` and `command_seconds` are for stores.

        Raises:
            ConfigurationError: the URL cannot be used.
        """


def own_schemes() -> tuple[str, ...]:
    """The schemes of the stores in this package."""
    return tuple(_OWN)


def redis_schemes() -> tuple[str, ...]:
    """The schemes of a Redis."""
    return tuple(scheme for scheme, entry in _OWN.items() if entry.value == _REDIS)


def other_schemes() -> tuple[str, ...]:
    """The schemes that other installed packages bring, sorted.

    Raises:
        ConfigurationError: what is installed cannot be looked through.
    """
    return tuple(sorted({entry.name for entry in _installed()} - _OWN.keys()))


def scheme_of(url: str) -> str | None:
    """The registered scheme that a URL's store goes by; None if there is none.

    A scheme with a plus, such as `archive+s3`, goes by `archive` where it is not registered itself.

    Raises:
        ConfigurationError: what is installed cannot be looked through.
    """
    scheme, separator, _ = url.partition("://")
    if not separator:
        return None
    for wanted in (scheme, scheme.partition("+")[0]):
        if wanted in _OWN or any(entry.name == wanted for entry in _installed()):
            return wanted
    return None


def make_store(url: str, settings: Settings) -> StreamStore:
    """The stream store that a URL names, not started; roles that it lacks have nothing to give.

    Raises:
        ConfigurationError: the URL cannot be used, its scheme is nobody's, or the package that has it is broken.
    """
    return complete(factory_of(url)(url, settings))


def factory_of(url: str) -> StoreFactory:
    """What makes the store of a URL, as often as one is needed. Finding it reads files, calling it does not.

    Raises:
        ConfigurationError: the URL's scheme is nobody's, or the package that has it is broken.
    """
    scheme = scheme_of(url)
    if scheme is None:
        raise ConfigurationError(f"a store's URL begins with {_listed((*own_schemes(), *other_schemes()))}")
    if scheme in _OWN:
        own: StoreFactory = _OWN[scheme].load()
        return own
    return _ForeignFactory(_only(scheme))


def has_credentials(text: str, url: str) -> bool:
    """Whether a text repeats something of a URL that may be a credential: what stands before the last at sign, or its
    password if there is one, or a value of the query."""
    rest = url.partition("://")[2]
    login = rest.rpartition("@")[0]
    parts = [login, login.partition(":")[2], *(value for _, value in parse_qsl(rest.partition("?")[2]))]
    return any(part and (part in text or unquote(part) in text) for part in parts)


# -- stores of other packages -----------------------------------------------------------------------------------------


def _installed() -> tuple[EntryPoint, ...]:
    try:
        return tuple(entry_points(group=GROUP))
    except Exception as exc:
        raise ConfigurationError(
            f"the entry points of the installed packages cannot be read ({type(exc).__name__}), so that stores of "
            "other packages cannot be found: `pip check` may name the broken one"
        ) from exc


def _only(scheme: str) -> EntryPoint:
    """The one entry point of a scheme.

    Raises:
        ConfigurationError: several packages have it.
    """
    found = [entry for entry in _installed() if entry.name == scheme]
    if len(found) > 1:
        packages = " and ".join(sorted(_package(entry) for entry in found))
        raise ConfigurationError(f"{scheme}:// is a store of {packages}: uninstall all but one")
    return found[0]


class _ForeignFactory:
    """Another package's factory. What it makes is checked, and an error of its own names the package."""

    def __init__(self, entry: EntryPoint) -> None:
        """Raises `ConfigurationError` if the entry point names nothing that can be called."""
        self._value = entry.value
        self._told = f"the store of {entry.name}:// from {_package(entry)}"
        try:
            self._make: object = entry.load()
        except Exception as exc:
            raise ConfigurationError(f"{self._told} cannot be loaded from {self._value}: {_text(exc)}") from exc

    def __call__(self, url: str, settings: Settings, /) -> StreamLog:
        make = self._make
        if not callable(make):
            raise ConfigurationError(f"{self._told} is broken: {self._value} is not callable; it names a StoreFactory")
        try:
            store: object = make(url, settings)
        except Exception as exc:  # noqa: BLE001 -- another package's code
            _refused(f"{self._told} cannot be made", exc, url)
        if not isinstance(store, StreamLog):
            raise ConfigurationError(
                f"{self._told} is broken: {self._value} made a {type(store).__name__}, which is no StreamLog"
            )
        return store


def _refused(told: str, error: Exception, url: str) -> NoReturn:
    """Raise what a factory raised, with its text unless that has credentials."""
    if any(has_credentials(str(one), url) for one in _chain(error)):
        raise ConfigurationError(f"{told}: {type(error).__name__}, whose text has credentials") from None
    text = str(error) if isinstance(error, ConfigurationError) else _text(error)
    raise ConfigurationError(f"{told}: {text}") from error


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception, and what it was raised from or during."""
    left: list[BaseException | None] = [error]
    seen: set[int] = set()
    while left:
        one = left.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            left += [one.__cause__, one.__context__]
            yield one


def _package(entry: EntryPoint) -> str:
    return "an installed package" if entry.dist is None else f"the package {entry.dist.name}"


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _listed(schemes: tuple[str, ...]) -> str:
    *first, last = (f"{scheme}://" for scheme in schemes)
    return f"{', '.join(first)} or {last}"
