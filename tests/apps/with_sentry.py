"""The chat of `tests.apps.chat`, saved and limited, in a process that Sentry watches as a careless host may have it.

`SENTRY_DSN` is where to, `SENTRY_ENVIRONMENT` tells the processes apart. Each answer sets a tag, leaves a breadcrumb
and captures a message of the host's own; `POST /host` captures one outside of any stream. `POST /gate/<name>` as there.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import sentry_sdk
from fastapi import FastAPI
from sentry_sdk.integrations.fastapi import FastApiIntegration
from sentry_sdk.integrations.starlette import StarletteIntegration

from streamguard import StreamGuard
from streamguard.messages import MessageToSave
from streamguard.quota import Quota
from streamguard.telemetry import SentryObserver

from .chat import Script, model, steered
from .given import SETTINGS, URL, owner

__all__ = ["app", "application", "guard"]

sentry_sdk.init(
    dsn=os.environ["SENTRY_DSN"],
    release="1",
    traces_sample_rate=1.0,
    auto_enabling_integrations=False,  # which would import every model library that is installed
    integrations=[StarletteIntegration(), FastApiIntegration()],
    shutdown_timeout=5,
)


async def save(message: MessageToSave) -> None:
    """Done."""


guard = StreamGuard(
    URL,
    authenticate=owner,
    messages=save,
    observers=(SentryObserver(checkin_seconds=0.1),),
    settings=SETTINGS,
)
app = FastAPI(lifespan=guard.lifespan)


@app.post("/api/chat")
@guard.stream(session="body.id", quota=Quota(limit=1_000, per="day", unit="requests"))
async def chat(body: Script) -> AsyncIterator[str]:
    sentry_sdk.set_tag("answer", body.id)
    sentry_sdk.add_breadcrumb(message=f"asked in {body.id}", category="host")
    async for piece in model(body):
        yield piece
    sentry_sdk.capture_message(f"answered {body.id}")


@app.post("/host")
async def host() -> None:
    sentry_sdk.capture_message("of the host")


guard.install(app, "/api/chat")
application = steered(app)
