"""What the tests give each of these apps: where it keeps its streams, its settings, and who asks."""

from __future__ import annotations

import json
import os

from starlette.requests import HTTPConnection

from streamguard import Settings

__all__ = ["SETTINGS", "URL", "owner"]

URL = os.environ.get("STREAMGUARD_URL", "memory://")
SETTINGS = Settings(**json.loads(os.environ.get("STREAMGUARD_SETTINGS", "{}")))


async def owner(connection: HTTPConnection) -> str | None:
    return connection.headers.get("x-user")
