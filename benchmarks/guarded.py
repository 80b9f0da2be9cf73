"""The generator of `bare` under streamguard."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.routing import Route

from streamguard import Settings, StreamGuard

from .bare import generator
from .pieces import piece
from .plan import Protocol

__all__ = ["guarded_app"]


async def _owner(connection: HTTPConnection) -> str | None:
    return connection.headers.get("x-user")


def guarded_app(url: str) -> Starlette:
    """The application under streamguard, with default settings except for limits that would refuse the load."""

    guard = StreamGuard(
        url,
        authenticate=_owner,
        settings=Settings(
            max_viewers_per_owner=10_000, max_resumes_per_minute=100_000, replay_after_finish_seconds=600
        ),
    )
    app = Starlette(lifespan=guard.lifespan)
    for protocol in Protocol:
        endpoint = guard.stream(protocol=protocol.value)(generator(piece))
        app.router.routes.append(Route(f"/{protocol}", endpoint, methods=["POST"]))
        guard.install(app, f"/{protocol}")
    return app
