"""Which streamguard this is."""

from __future__ import annotations

from importlib import metadata

from ..distribution import DISTRIBUTION

__all__ = ["package_version"]


def package_version() -> str:
    """The version of the installed package."""
    return metadata.version(DISTRIBUTION)
