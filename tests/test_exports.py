"""What users import is what the package says it exports."""

from __future__ import annotations

from types import ModuleType

import streamguard
import streamguard.telemetry


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
