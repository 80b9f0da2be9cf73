"""Every text about a guard that is used in a way that cannot work, or works only until a client comes back.

The texts are in one place because users look them up: `docs/how-to/troubleshoot.md` lists each by its symptom, and
`tests/web/test_misuse.py` commits each misuse and compares its text with that page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from ..errors import ConfigurationError, NotStartedError
from ..observations import Observation, Signal

__all__ = ["Misuse", "MisuseReport"]


class Misuse(Enum):
    """One kind of misuse; its value is the text, with the names of its values in braces."""

    # -- decorating ---------------------------------------------------------------------------------------------------

    NO_PARENTHESES = (
        "@guard.stream on {endpoint} was written without parentheses: write @guard.stream() or "
        "@guard.stream(session='…')"
    )
    NOT_APPLIED = (
        "guard.stream({given}) was registered, or called, without an endpoint: it decorates one, so write it above the "
        "function"
    )
    NO_SUCH_PARAMETER = (
        "{option} of {endpoint} needs {missing}, but the endpoint's parameters are: {parameters}. Begin with one of "
        "these, or give a function of them, which may be async and read a body: {option}=lambda request: …"
    )
    NO_SUCH_FIELD = "{option}={source!r} of {endpoint} would be None for every request: {hint}"
    SELECTED_NONE = (
        "session={source!r} of {endpoint} was None for a request, which got a session of its own: a client that does "
        "not read X-Session-Id cannot come back to its answer. Have clients send the id. If requests without one are "
        "meant, say so with a function: session=lambda {parameter}: …"
    )
    DECORATORS_SWAPPED = (
        "{route} leads to {endpoint} itself, past its guard: write the application's decorator above the guard's, as "
        "in @app.post(…) above @guard.stream(…), or register what @guard.stream(…) returns"
    )
    SSE_RESPONSE_CLASS = (
        "{route} has response_class={given}, with which FastAPI iterates the endpoint itself and fails, and it is no "
        "route of FastAPI's own, whose handler the guard replaces: leave it out, since @guard.stream answers with a "
        "stream anyway. To yield ServerSentEvent, name protocol='opaque' in it"
    )
    WHOLE_ANSWER = (
        "{endpoint} answered with a {given}, which is no stream: it was passed on as it is, and it was neither saved "
        "nor counted against a quota. Yield the answer to have it saved and counted, or return it from an endpoint "
        "that is not guarded"
    )
    DECORATED_HANDLER = (
        "{endpoint} was given to the guard's decorator as a route handler of Litestar's: write @{decorator}(…) above "
        "it, as in @{decorator}('/api/chat') above @plugin.stream(…)"
    )
    GUARD_DECORATOR = (
        "{endpoint} is decorated with guard.stream, which is for Starlette and FastAPI: in a Litestar application, "
        "write @plugin.stream(…), of the StreamGuardPlugin(guard, …) that the application has in plugins=[…]"
    )
    YIELD_DEPENDENCY = (
        "{endpoint} depends on {dependency}, a generator that Litestar closes as soon as the handler has returned, "
        "while its stream would still be using what it gave: have the dependency return something that opens it, and "
        "open it in the endpoint itself, async with …"
    )
    CACHED_ENDPOINT = (
        "{endpoint} has cache=…, with which Litestar would send one visitor's answer to another: leave it out, since "
        "a client gets its own answer again from the guard's routes"
    )
    NESTED = (
        "{endpoint} was called by another guarded endpoint, so that one answer would be two streams: take "
        "@guard.stream off one of the two, or have both call a function that is not guarded"
    )

    # -- rules of the middleware --------------------------------------------------------------------------------------

    GUARDED_TWICE = (
        "{endpoint} is guarded already, and {rule} of a StreamGuardMiddleware around it would guard its answers a "
        "second time: take @guard.stream off, or narrow the rule with its path or when=…"
    )
    RULE_COMPRESSED = (
        "the application answered a request of {rule} with a stream that is compressed (content-encoding: {given}), "
        "which cannot be read event by event: have it send streams uncompressed when the request has no "
        "Accept-Encoding, and compress outside of StreamGuardMiddleware, in a proxy for example"
    )
    RULES_LATE = (
        "{rule} counts against a quota, but its guard runs already, without one: make the StreamGuardMiddleware before "
        "the guard starts, app = StreamGuardMiddleware(app, guard=guard, rules=[…]), or start the guard with "
        "lifespan=guard.lifespan of the application that has the middleware"
    )
    RULES_OUTSIDE = (
        "authenticate={function} reads connection.{attribute}, which {inside} provides, but StreamGuardMiddleware is "
        "outside of it: call app.add_middleware(StreamGuardMiddleware, …) before "
        "app.add_middleware({inside}, …), since the middleware that is added last is outermost"
    )
    RULES_OUTSIDE_CORS = (
        "CORSMiddleware is inside StreamGuardMiddleware, so pages of other origins cannot read the answers that the "
        "guard gives itself, such as 401 or 409: call app.add_middleware(StreamGuardMiddleware, …) before "
        "app.add_middleware(CORSMiddleware, …), since the middleware that is added last is outermost"
    )

    # -- installing ---------------------------------------------------------------------------------------------------

    INSTALL_TARGET = "guard.install takes the application, a FastAPI or Starlette object, not {given}: {remedy}"
    INSTALL_PREFIX = (
        "install needs a plain path such as '/api/chat', with a slash first, none last and no parameters, "
        "not {prefix!r}"
    )
    INSTALLED_LATE = "install the guard before the application starts"
    PREFIX_TAKEN = (
        "a guard is installed under {prefix!r} already, and only one can answer there: install each guard once, and "
        "two guards under two prefixes"
    )
    ROUTE_HIDDEN = (
        "{method} {path} belongs to the guard that is installed under {prefix!r}, so {route} would never be reached: "
        "install the guard under another prefix, or move that route"
    )
    GUARD_HIDDEN = (
        "{method} {path} of the guard never gets to it, because {route} comes first: move what the guard is mounted in "
        "up, or call guard.install(app, {prefix!r}) with the outermost application, which needs no order"
    )
    BEHIND_MOUNT = (
        "{method} {path} of the guard never gets to it, because Litestar asks what is mounted first, and {route} takes "
        "every path that begins with its own: mount that elsewhere, or give StreamGuardPlugin another prefix than "
        "{prefix!r}"
    )
    UNPROTECTED_ROUTES = (
        "{given} does not protect the routes that the guard adds under {prefix!r}: FastAPI runs dependencies for its "
        "own endpoints only. Install with streamguard.contrib.fastapi.install(guard, app, {prefix!r}), which makes the "
        "routes FastAPI's own, or check the same in authenticate=…, which every route of the guard but health asks "
        "first, and which may raise HTTPException"
    )
    NOT_INSTALLED = (
        "{endpoint} is guarded, but the routes of its guard are nowhere, so that no client can resume or stop its "
        "answers: {remedy}"
    )

    # -- the outermost layer ------------------------------------------------------------------------------------------

    NO_LAYER = (
        "{endpoint} runs without its guard's outermost layer, which refuses bodies that are too large and breaks the "
        "connection of an answer that is cut short: put it around the outermost application, app = guard.wrap(app)"
    )
    LAYER_INSIDE = (
        "{endpoint} runs inside a BaseHTTPMiddleware that is outside its guard's outermost layer, and that would end "
        "an answer that is cut short like one that is complete, so such an answer ends with an error in your log: put "
        "the layer around the outermost application, app = guard.wrap(app)"
    )
    ENDED_BY_ERROR = (
        "an answer was cut short inside a BaseHTTPMiddleware; this error breaks its connection, so that the client "
        "does not take it for complete. To break it without an error, put the guard's outermost layer around the "
        "outermost application: app = guard.wrap(app)"
    )

    HTTP_1_0 = (
        "{endpoint} was called over HTTP/1.0, in which a response ends with its connection, so that an answer that is "
        "cut short looks complete: have the proxy speak HTTP/1.1 to this server, in nginx with proxy_http_version 1.1"
    )

    # -- starting -----------------------------------------------------------------------------------------------------

    NOT_STARTED = (
        "this guard is not running: pass lifespan=guard.lifespan to your application, or write `async with guard:` in "
        "your own lifespan"
    )
    NOT_STARTED_MOUNTED = (
        "this guard is not running: its application is mounted in another one, and Starlette does not run the lifespan "
        "of a mounted application. Start the guard in the outermost one: pass lifespan=guard.lifespan to that, or "
        "write `async with guard:` in its lifespan"
    )
    NOT_STARTED_TEST_CLIENT = (
        "this guard is not running: TestClient runs an application's lifespan only inside `with TestClient(app) as "
        "client:`. If the test has that, pass lifespan=guard.lifespan to the outermost application"
    )
    NOT_STARTED_ASGI_TRANSPORT = (
        "this guard is not running: httpx.ASGITransport runs no lifespan. Write `async with guard:` around its client, "
        "or use streamguard.testing.GuardedApp, which streams too"
    )
    LOOP_CLOSED = (
        "this guard is not running: it was started in an event loop that is closed. Start it in the loop that uses it; "
        "in tests, give a fixture and its tests one loop scope"
    )
    OTHER_LOOP = (
        "this guard runs in another event loop than the one it is used in: start it in the loop that uses it; in "
        "tests, give a fixture and its tests one loop scope, and use one TestClient, inside `with TestClient(app) as "
        "client:`"
    )
    STARTED_TWICE = (
        "this guard is running already; start it once, either with lifespan=guard.lifespan or with "
        "`async with guard:`, in the outermost application"
    )
    LEFT_ELSEWHERE = (
        "this guard was started in another event loop and can be left only there: have whatever starts it and "
        "whatever ends it share a loop (a pytest fixture and its tests: one loop scope)"
    )

    IMPATIENT_SERVER = (
        "{server} breaks connections {seconds:g} s after it was told to stop, but answers may go on for "
        "drain_seconds={drain:g}: set {setting} {enough}, or clients lose their connection before their answer has "
        "ended, and have to resume it elsewhere"
    )

    # -- authenticating -----------------------------------------------------------------------------------------------

    NO_AUTHENTICATE = (
        "StreamGuard needs authenticate=…, a function that names the owner of a request; "
        "if your application has no users, say so: authenticate=anonymous"
    )
    AUTHENTICATE_DEPENDS = (
        "authenticate={given} is for FastAPI, but the guard calls authenticate itself: pass a function of the "
        "connection, authenticate={function}, that reads what it needs from connection.headers or connection.cookies"
    )
    AUTHENTICATE_SECURITY = (
        "authenticate={given}(…) would take whatever the client sends for its owner, unverified: pass a function of "
        "the connection that verifies it and gives the user's id"
    )
    AUTHENTICATE_PARAMETERS = (
        "authenticate={function} is written like a FastAPI dependency ({parameters}), but the guard calls it with the "
        "connection alone: write a function of one parameter, def {function}(connection), that reads what it needs "
        "from connection.headers or connection.cookies"
    )
    VISITORS_UNKNOWN = (
        "authenticate=anonymous signs its visitors' cookies with a secret of this process's own, but the store is "
        "shared: other workers, and this one after a restart, would not know them. Give all workers one secret, "
        'Anonymous(os.environ["CHAT_SECRET"]), made once with '
        '`python -c "import secrets; print(secrets.token_urlsafe())"`'
    )
    AUTHENTICATE_RESULT = "authenticate must give a str or None, not {given}: {remedy}"

    def text(self, **values: object) -> str:
        """The text with its values."""
        return self.value.format(**values)

    def error(self, **values: object) -> ConfigurationError:
        """The text as an error, to be raised."""
        return ConfigurationError(self.text(**values))

    def observation(self, **values: object) -> Observation:
        """The text as a warning for observers."""
        return Observation(Signal.MISUSE, fields={"misuse": self.name.lower(), "warning": self.text(**values)})

    def not_started(self) -> NotStartedError:
        """The text as the error of a guard that does not run."""
        return NotStartedError(self.text())


@dataclass(frozen=True, slots=True)
class MisuseReport:
    """One misuse that was found, with the values of its text."""

    misuse: Misuse
    values: Mapping[str, object]

    @property
    def text(self) -> str:
        """The text for users."""
        return self.misuse.text(**self.values)

    def error(self) -> ConfigurationError:
        """The text as an error, to be raised."""
        return self.misuse.error(**self.values)

    def observation(self) -> Observation:
        """The text as a warning for observers."""
        return self.misuse.observation(**self.values)
