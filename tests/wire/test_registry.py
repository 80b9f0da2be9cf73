from __future__ import annotations

import pytest

from streamguard import wire
from streamguard.errors import ConfigurationError


@pytest.mark.parametrize("name", ["ui-message", "plain", "opaque"])
def test_protocols_are_found_by_name(name: str) -> None:
    protocol = wire.protocol_named(name)
    assert protocol.name == name
    assert protocol.media_type == "text/event-stream"
    assert wire.protocol_named(name) is protocol


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"'sse'; known are: opaque, plain, ui-message"):
        wire.protocol_named("sse")


def test_what_is_exported_exists() -> None:
    assert all(hasattr(wire, name) for name in wire.__all__)
