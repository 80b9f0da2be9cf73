"""Whether prometheus-client counts into files that all workers of a server share."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Final

from ...errors import ConfigurationError

__all__ = ["DIRECTORY", "is_multiprocess"]

DIRECTORY: Final = "PROMETHEUS_MULTIPROC_DIR"


def is_multiprocess() -> bool:
    """Whether this process counts into files. prometheus-client decided that when it was imported.

    Raises:
        ConfigurationError: the environment says otherwise, or names no directory.
    """
    values = import_module("prometheus_client.values")
    directory = os.environ.get(DIRECTORY)
    if values.ValueClass is values.MutexValue:
        if directory is None:
            return False
        raise ConfigurationError(
            f"{DIRECTORY} was set after prometheus_client was imported, which is too late: set it in the environment "
            "of the server's start"
        )
    if directory is None or not os.path.isdir(directory):
        raise ConfigurationError(
            f"{DIRECTORY} has to name a directory that exists: make an empty one before each start of the server"
        )
    return True
