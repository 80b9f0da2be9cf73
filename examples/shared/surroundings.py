"""What the environment says, and who is asking: the same for every example chat. Everything is optional:

- `STREAMGUARD_URL`: where streams are logged; default `memory://`, several workers need `redis://…`.
- `STREAMGUARD_SETTINGS`: `streamguard.Settings` as JSON; without it, what is owed is tried again so soon that one can
  watch it.
- `OPENAI_API_KEY`, `OPENAI_BASE_URL`, `OPENAI_MODEL`: a real model instead of the scripted one.
- `DEMO_DATABASE_URL`: where chats are kept, an SQLAlchemy asyncio URL such as `postgresql+asyncpg://…` or
  `mysql+asyncmy://…`; default a SQLite file in `~/.local/state/streamguard-demo` (`XDG_STATE_HOME`).
- `DEMO_DAILY_TOKENS`: how many tokens a visitor may use a day; default 20000, and 0 for any number. A piece of the
  scripted model is one. `!quota` shows a refusal, `!quota-release-fail` an answer that is counted late.
- `DEMO_GAP_MS`: milliseconds between the scripted model's pieces; default 70, so that an answer takes some seconds.
- `DEMO_SECRET`: signs the visitors' cookies; several machines need the same one. Default one made on first use, beside
  the SQLite file.
- `DEMO_TRUST_X_USER=1`: take the user from the header `X-User`, for tests; never behind a public address.
- `SENTRY_DSN`: report faults to Sentry, without anything that anybody wrote; `SENTRY_TRACES_SAMPLE_RATE`: and so many
  of the traces, from 0 to 1; default none. `SENTRY_ENVIRONMENT` and `SENTRY_RELEASE` as the SDK reads them.
- `DEMO_VARIANT`: the label `variant` of the metrics at `/metrics`, to compare a canary.
- `PROMETHEUS_MULTIPROC_DIR`: an empty directory, for the metrics of several workers.
- `HOST`, `PORT`: where `python main.py` listens; default 127.0.0.1:8000.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import sentry_sdk
from chats import database_in, own_directory, secret_in
from starlette.requests import HTTPConnection

from streamguard import Anonymous, Settings
from streamguard.telemetry.metrics import PrometheusMetrics
from streamguard.telemetry.sentry import hooks

STATIC = Path(__file__).resolve().parent / "static"
URL = os.environ.get("STREAMGUARD_URL", "memory://")
SOON = '{"outbox_seconds": 1, "outbox_retry_seconds": 1, "outbox_max_retry_seconds": 10}'
SETTINGS = Settings.model_validate_json(os.environ.get("STREAMGUARD_SETTINGS") or SOON)
OWN = own_directory()
DATABASE = os.environ.get("DEMO_DATABASE_URL") or database_in(OWN)
DAILY_TOKENS = int(os.environ.get("DEMO_DAILY_TOKENS") or 20_000)
GAP_SECONDS = float(os.environ.get("DEMO_GAP_MS", "70")) / 1000
VISITORS = Anonymous(os.environ.get("DEMO_SECRET") or secret_in(OWN))
TRUST_X_USER = os.environ.get("DEMO_TRUST_X_USER") == "1"
HOST = os.environ.get("HOST", "127.0.0.1")
PORT = int(os.environ.get("PORT", "8000"))
METRICS = PrometheusMetrics(variant=os.environ.get("DEMO_VARIANT", ""))
PAGE_HEADERS = {
    "Cache-Control": "no-cache",
    # Nothing but our own files: what a model writes can never run, load or send anything.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

if dsn := os.environ.get("SENTRY_DSN"):
    # Local variables and request bodies hold what users wrote; faults are told apart by their tags, not by content.
    sentry_sdk.init(
        dsn=dsn,
        traces_sample_rate=float(os.environ.get("SENTRY_TRACES_SAMPLE_RATE") or 0) or None,
        include_local_variables=False,
        max_request_body_size="never",
        **hooks(),
    )


async def owner(connection: HTTPConnection) -> str | None:
    """Who is asking: a signed cookie, given out on the first visit; a program by its key, which only a provider can
    verify; in tests the header `X-User`."""
    if key := connection.headers.get("authorization"):
        return f"key-{hashlib.sha256(key.encode()).hexdigest()[:32]}"
    if TRUST_X_USER and (user := connection.headers.get("x-user")):
        return user
    return await VISITORS(connection)
