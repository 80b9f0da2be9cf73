"""Where each guarded endpoint's messages are saved, so that any worker can save a stream of any of them.

A *binding* is the stable name of an endpoint's configuration; it is stored with every stream.
"""

from __future__ import annotations

from typing import Final, Literal

from ..errors import ConfigurationError
from ..messages import CallableSaver, MessageStore, Save
from ..overrides import check_overrides

__all__ = ["Bindings", "SaveOption", "SaveTarget"]

SaveTarget = MessageStore | CallableSaver
"""What messages are saved to."""

SaveOption = MessageStore | Save | Literal[False] | None
"""`save=` of an endpoint: a place of its own, False for nowhere, None for the guard's `messages`."""


class Bindings:
    """The bindings of one guard. Filled while endpoints are decorated; only read afterwards.

    Args:
        messages: where endpoints save that say nothing else; None saves nothing.

    Raises:
        ConfigurationError: `messages` is neither a store nor an async function of one message.
    """

    def __init__(self, messages: MessageStore | Save | None = None) -> None:
        self._given: Final[list[tuple[object, SaveTarget]]] = []
        """What was given, and what was made of it: two endpoints that name one function save to one place."""
        self._targets: dict[str, SaveTarget | None] = {}
        self.default: SaveTarget | None = None if messages is None else self._target(messages)
        """Where the guard itself saves."""

    def register(self, binding: str, save: SaveOption = None) -> SaveTarget | None:
        """Note where the streams of `binding` are saved, and give it back; None for nowhere.

        Raises:
            ConfigurationError: the binding is known already, with another place; or `save` is none.
        """
        target = self.default if save is None else None if save is False else self._target(save)
        if self._targets.setdefault(binding, target) is not target:
            raise ConfigurationError(
                f"two endpoints have the binding {binding!r} but save to different places: another worker could not "
                "tell where to save its streams; give each its own name with binding=…"
            )
        return target

    @property
    def any(self) -> bool:
        """Whether any endpoint has been decorated."""
        return bool(self._targets)

    def knows(self, binding: str) -> bool:
        """Whether this process has an endpoint of that binding."""
        return binding in self._targets

    def is_others(self, binding: str) -> bool:
        """Whether only another worker knows where a stream of this binding is saved, and what it is charged."""
        return self.any and not self.knows(binding)

    def target_of(self, binding: str) -> SaveTarget | None:
        """Where the streams of `binding` are saved; None for nowhere, and for an unknown one."""
        return self._targets.get(binding)

    @property
    def stores(self) -> tuple[MessageStore, ...]:
        """Every message store that was given, the guard's own first; functions are not among them."""
        return tuple(target for _, target in self._given if isinstance(target, MessageStore))

    def _target(self, given: MessageStore | Save) -> SaveTarget:
        for known, target in self._given:
            if known == given:  # a method is another object each time it is named, but an equal one
                return target
        check_overrides(given)
        target = given if isinstance(given, MessageStore) else CallableSaver(given)
        self._given.append((given, target))
        return target
