"""A headless Chromium, spoken to by its DevTools protocol over pipes: JSON, ended by a NUL."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

CHROMIUM: Final = shutil.which("chromium")

_FLAGS: Final = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe", "--hide-scrollbars"),
    "--disable-dev-shm-usage",  # containers have little of it
)
_START: Final = 'exec "$@" 3<&{commands} 4>&{answers}'
"""Chromium reads commands from descriptor 3, and writes answers to 4. For bash: dash knows no descriptors above 9."""
_UNTIL: Final = """new Promise((done) => {{
    const look = () => {{
        let found;
        try {{ found = {condition}; }} catch {{ }}
        if (found) done(found); else setTimeout(look, 10);
    }};
    look();
}})"""
_PATIENCE: Final = 20
"""Seconds after which a page does not come to what is expected."""
_LIMIT: Final = 64 * 1024 * 1024


class PageFailed(AssertionError):
    """The page's own code failed."""


class PageGone(PageFailed):
    """The page was left, or loaded again, while its code ran."""


_GONE: Final = -32000
"""The code of errors about what is not there, or not there any more."""


class Page:
    """A page in a browser."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    async def call(self, method: str, **parameters: Any) -> Any:
        """A command of the protocol, in this page."""
        return await self._browser.call(method, session=self._session, **parameters)

    async def size(self, width: int, height: int, *, is_phone: bool = False, is_dark: bool = False) -> None:
        """Give the window a size, and the system a color scheme."""
        shape = {"width": width, "height": height, "deviceScaleFactor": 2 if is_phone else 1, "mobile": is_phone}
        await self.call("Emulation.setDeviceMetricsOverride", **shape)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def go(self, url: str) -> None:
        """Show a URL."""
        await self.call("Page.navigate", url=url)

    async def run(self, script: str) -> Any:
        """The value of an expression, which may be a promise."""
        answer = await self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in answer:
            raise PageFailed(answer["exceptionDetails"])
        return answer["result"].get("value")

    async def until(self, condition: str) -> Any:
        """Wait until an expression is true. Raises `PageFailed`, with what is seen, if it never is."""
        try:
            async with asyncio.timeout(_PATIENCE):
                while True:
                    with suppress(PageGone):
                        return await self.run(_UNTIL.format(condition=condition))
        except TimeoutError:
            raise PageFailed(f"not so: {condition}\n{await self.text()}\n{self.problems}") from None

    async def text(self) -> str:
        """The text that is seen."""
        seen: str = await self.run("document.body.innerText")
        return seen

    async def key(self, key: str) -> None:
        """Press a key."""
        for kind in ("keyDown", "keyUp"):
            await self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, text="\r" if key == "Enter" else "")

    async def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """An event of the mouse."""
        await self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    async def screenshot(self) -> bytes:
        """What is seen, as a PNG."""
        return base64.b64decode((await self.call("Page.captureScreenshot", format="png"))["data"])

    @property
    def problems(self) -> list[str]:
        """Errors and warnings of its console, and exceptions of its code."""
        return self._browser.problems[self._session]


class Browser:
    """The browser. It takes seconds to start."""

    def __init__(self, process: asyncio.subprocess.Process, commands: int, answers: asyncio.StreamReader) -> None:
        self.process = process
        self.problems: defaultdict[str, list[str]] = defaultdict(list)
        """Of each page, by its session."""
        self._commands = commands
        self._answers = answers
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._reading = asyncio.create_task(self._read())

    async def call(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        """A command of the protocol."""
        number = len(self._waiting) + 1
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": parameters, **({"sessionId": session} if session else {})}
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        return await future

    async def _read(self) -> None:
        try:
            while True:
                self._take(json.loads((await self._answers.readuntil(b"\0"))[:-1]))
        except asyncio.IncompleteReadError:
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(PageFailed("the browser ended"))

    def _take(self, message: dict[str, Any]) -> None:
        if "id" in message:
            future, error = self._waiting[message["id"]], message.get("error")
            if future.done():
                return
            if error:
                future.set_exception((PageGone if error["code"] == _GONE else PageFailed)(error))
            else:
                future.set_result(message["result"])
        elif message["method"] == "Runtime.exceptionThrown":
            self.problems[message["sessionId"]].append(json.dumps(message["params"]["exceptionDetails"]))
        elif message["method"] == "Log.entryAdded" and message["params"]["entry"]["level"] in ("error", "warning"):
            self.problems[message["sessionId"]].append(message["params"]["entry"]["text"])

    @asynccontextmanager
    async def page(self) -> AsyncIterator[Page]:
        """A new page, with a cache, passwords and storage of its own."""
        context = (await self.call("Target.createBrowserContext"))["browserContextId"]
        try:
            target = await self.call("Target.createTarget", url="about:blank", browserContextId=context)
            attached = await self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
            page = Page(self, attached["sessionId"])
            for domain in ("Page", "Runtime", "Log"):
                await page.call(f"{domain}.enable")
            yield page
        finally:
            await self.call("Target.disposeBrowserContext", browserContextId=context)

    async def close(self) -> None:
        """End the browser."""
        with suppress(PageFailed):
            await self.call("Browser.close")
        await self.process.wait()
        await self._reading


@asynccontextmanager
async def browsing() -> AsyncIterator[Browser]:
    """A new browser."""
    assert CHROMIUM is not None, "chromium is not installed: apt-get install chromium"
    with tempfile.TemporaryDirectory(prefix="chromium", ignore_cleanup_errors=True) as profile:
        for_browser, commands = os.pipe()
        answers, from_browser = os.pipe()
        start = _START.format(commands=for_browser, answers=from_browser)
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", start, "bash", CHROMIUM, *_FLAGS, f"--user-data-dir={profile}"),
            pass_fds=(for_browser, from_browser),
            stderr=asyncio.subprocess.DEVNULL,
        )
        os.close(for_browser)
        os.close(from_browser)
        reader = asyncio.StreamReader(_LIMIT)
        pipe = os.fdopen(answers, "rb")
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        browser = Browser(process, commands, reader)
        try:
            yield browser
        finally:
            await browser.close()
            transport.close()
            os.close(commands)
