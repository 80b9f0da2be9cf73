"""A headless Chromium, driven over chromedriver's W3C WebDriver interface (https://www.w3.org/TR/webdriver2/)."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import httpx

from ..harness.tools import missing
from ..harness.waiting import wait_until

__all__ = ["Browser", "BrowserError", "Element"]

_INSTALL: Final = "no chromium with chromedriver found: `apt-get install chromium chromium-driver`"
_FLAGS: Final = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=900,800",
)
_ELEMENT: Final = "element-6066-11e4-a52e-4f735466cecf"
"""The key that marks an element in WebDriver's JSON; fixed by the specification."""
_START_SECONDS: Final = 60.0
"""Also for each call: six processes may start theirs at once."""

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]


def _program(*names: str) -> str:
    """The first of `names` on PATH. Skips the test when there is none; with `CI=true` fails it."""
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        missing(_INSTALL)
    return found


class BrowserError(Exception):
    """The browser did not do what it was told: the page changed meanwhile, and an element is no longer in it."""


class Browser:
    """One browser with a fresh profile. Use as a context manager; every call is bounded in time."""

    def __init__(self) -> None:
        self._driver: subprocess.Popen[bytes] | None = None
        self._directory = tempfile.TemporaryDirectory(prefix="streamguard-chromium-", ignore_cleanup_errors=True)
        self._log = Path(self._directory.name, "chromedriver.log")
        self.downloads: Path = Path(self._directory.name, "downloads")
        """Where files are saved that pages give out."""
        self._http = httpx.Client(trust_env=False, timeout=_START_SECONDS)
        self._session = ""

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def open(self, url: str) -> None:
        """Go to `url` and wait for its load event."""
        self._call("POST", "url", {"url": url})

    def reload(self) -> None:
        self._call("POST", "refresh", {})

    def back(self) -> None:
        """Go back in the history, and wait for the page, which may come from the cache with all its state."""
        self._call("POST", "back", {})

    @contextmanager
    def offline(self) -> Iterator[None]:
        """Within the block the page has no network: requests fail, and it is told `offline`, then `online`."""
        unlimited = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        self._devtools("Network.enable", {})
        self._devtools("Network.emulateNetworkConditions", {"offline": True, **unlimited})
        try:
            yield
        finally:
            self._devtools("Network.emulateNetworkConditions", {"offline": False, **unlimited})
            self._devtools("Network.disable", {})

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Within the block the page's tasks stand still, as those of a tab that has long been hidden."""
        self._devtools("Page.setWebLifecycleState", {"state": "frozen"})
        try:
            yield
        finally:
            self._devtools("Page.setWebLifecycleState", {"state": "active"})

    def find(self, selector: str) -> Element:
        """The first element that matches the CSS selector, waited for.

        Raises:
            AssertionError: there is none within twenty seconds.
        """
        return wait_until(lambda: self.find_all(selector), description=f"{selector} appears")[0]

    def find_all(self, selector: str) -> list[Element]:
        """Every element that matches the CSS selector now."""
        found = self._call("POST", "elements", {"using": "css selector", "value": selector})
        assert isinstance(found, list)
        return [Element(self, reference[_ELEMENT]) for reference in found]

    def element(self, source: str, *arguments: Json) -> Element | None:
        """The element that the function body `source` returns in the page, if it returns one."""
        found = self.script(source, *arguments)
        return Element(self, str(found[_ELEMENT])) if isinstance(found, dict) else None

    def script(self, source: str, *arguments: Json) -> Json:
        """The JSON value that the function body `source` returns in the page."""
        return self._call("POST", "execute/sync", {"script": source, "args": list(arguments)})

    def resize(self, width: int, height: int) -> None:
        """Make the page so many CSS pixels large; one narrower than 500 is a phone's, which is touched."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self._devtools("Emulation.setDeviceMetricsOverride", size)
        self._devtools("Emulation.setTouchEmulationEnabled", {"enabled": width < 500})

    def prefer(self, **features: str) -> None:
        """What the reader prefers, as `color_scheme="dark"` or `reduced_motion="reduce"`; nothing else."""
        chosen = [{"name": f"prefers-{name.replace('_', '-')}", "value": value} for name, value in features.items()]
        self._devtools("Emulation.setEmulatedMedia", {"features": chosen})

    def as_usual(self) -> None:
        """Undo `resize` and `prefer`."""
        self._devtools("Emulation.clearDeviceMetricsOverride", {})
        self._devtools("Emulation.setTouchEmulationEnabled", {"enabled": False})
        self.prefer()

    def screenshot(self) -> str:
        """A PNG of the window, in base64."""
        png = self._call("GET", "screenshot")
        assert isinstance(png, str)
        return png

    def severe_console_messages(self) -> list[str]:
        """Errors on the console since the last call: uncaught exceptions, refused content, failed requests."""
        entries = self._call("POST", "se/log", {"type": "browser"})
        assert isinstance(entries, list)
        return [str(entry["message"]) for entry in entries if entry["level"] == "SEVERE"]

    def cookies(self) -> dict[str, str]:
        """The cookies of the page shown, by name."""
        found = self._call("GET", "cookie")
        assert isinstance(found, list)
        return {str(cookie["name"]): str(cookie["value"]) for cookie in found}

    def forget_cookies(self) -> None:
        """Delete the cookies of the page shown: its visitor is somebody new."""
        self._call("DELETE", "cookie")

    def tab(self) -> str:
        """The handle of the tab that calls go to."""
        return str(self._call("GET", "window"))

    def show_tab(self) -> None:
        """Bring the tab that calls go to before the others, which are hidden then."""
        self._call("POST", "goog/cdp/execute", {"cmd": "Page.bringToFront", "params": {}})

    @contextmanager
    def in_tab(self, handle: str) -> Iterator[None]:
        """Within the block, calls go to this tab."""
        before = self.tab()
        self._call("POST", "window", {"handle": handle})
        try:
            yield
        finally:
            self._call("POST", "window", {"handle": before})

    @contextmanager
    def new_tab(self) -> Iterator[None]:
        """Open a tab, which stays open; within the block, calls go to it."""
        opened = self._call("POST", "window/new", {"type": "tab"})
        assert isinstance(opened, dict)
        with self.in_tab(opened["handle"]):
            yield

    @contextmanager
    def closing_tabs(self) -> Iterator[None]:
        """After the block, the tabs that were opened in it are closed, and the one from before is shown."""
        here, before = self.tab(), self._tabs()
        try:
            yield
        finally:
            for handle in self._tabs() - before:
                with self.in_tab(handle):
                    self._call("DELETE", "window")
            with self.in_tab(here):
                self.show_tab()

    def _tabs(self) -> set[str]:
        found = self._call("GET", "window/handles")
        assert isinstance(found, list)
        return set(map(str, found))

    def close(self) -> None:
        """End browser and driver; may be called twice."""
        if self._session:
            session, self._session = self._session, ""
            self._http.delete(session)
        self._http.close()
        if self._driver is not None:
            self._driver.terminate()
            try:
                self._driver.wait(5)
            except subprocess.TimeoutExpired:
                self._driver.kill()
                self._driver.wait(5)
            self._driver = None
        self._directory.cleanup()

    def _devtools(self, command: str, parameters: Mapping[str, Json]) -> None:
        self._call("POST", "goog/cdp/execute", {"cmd": command, "params": parameters})

    def _start(self) -> None:
        chromium = _program("chromium", "chromium-browser", "google-chrome")
        with self._log.open("wb") as log:
            self._driver = subprocess.Popen(
                [_program("chromedriver"), "--port=0"], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        port = wait_until(self._port, description="chromedriver names its port", timeout=_START_SECONDS)
        options = {
            "binary": chromium,
            "args": [*_FLAGS, f"--user-data-dir={self._directory.name}/profile"],
            "prefs": {"download.default_directory": str(self.downloads)},
        }
        answer = self._http.post(
            f"http://127.0.0.1:{port}/session",
            json={
                "capabilities": {
                    "alwaysMatch": {
                        "browserName": "chrome",
                        "acceptInsecureCerts": True,  # those that a test makes
                        "goog:chromeOptions": options,
                        "goog:loggingPrefs": {"browser": "ALL"},
                        "timeouts": {"script": 30000, "pageLoad": 30000, "implicit": 0},
                    }
                }
            },
        ).json()["value"]
        assert "sessionId" in answer, answer
        self._session = f"http://127.0.0.1:{port}/session/{answer['sessionId']}"

    def _port(self) -> int | None:
        match = re.search(rb"started successfully on port (\d+)", self._log.read_bytes())
        return int(match[1]) if match else None

    def _call(self, method: str, command: str, body: Mapping[str, Json] | None = None) -> Json:
        answer = self._http.request(method, f"{self._session}/{command}", json=body)
        value: Json = answer.json()["value"]
        if not answer.is_success:
            raise BrowserError(f"{method} {command}: {value}")
        return value


class Element:
    """One element of the page."""

    def __init__(self, browser: Browser, reference: str) -> None:
        self._browser = browser
        self._path = f"element/{reference}"

    @property
    def text(self) -> str:
        """The text as it is in the document, visible or not."""
        return str(self._browser._call("GET", f"{self._path}/property/textContent"))

    def attribute(self, name: str) -> str | None:
        value = self._browser._call("GET", f"{self._path}/attribute/{name}")
        return None if value is None else str(value)

    @property
    def enabled(self) -> bool:
        return bool(self._browser._call("GET", f"{self._path}/enabled"))

    @property
    def displayed(self) -> bool:
        return bool(self._browser._call("GET", f"{self._path}/displayed"))

    def click(self) -> None:
        self._browser._call("POST", f"{self._path}/click", {})

    def type(self, text: str) -> None:
        """Press the keys that write `text`; a line feed is Enter."""
        self._browser._call("POST", f"{self._path}/value", {"text": text.replace("\n", "\ue007")})
