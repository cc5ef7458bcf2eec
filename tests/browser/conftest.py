"""A real browser: the Chromium that is on the machine, driven by Playwright. None is ever downloaded."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    Page,
    Request,
    ViewportSize,
    async_playwright,
    expect,
)
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import Response
from starlette.routing import Route

from gateway360_async.sandbox import Sandbox
from gateway360_async.sandbox._http_server import HttpServer
from gateway360_async.testing import FakeClock

ARGUMENTS = [
    "--no-sandbox",  # its own sandbox does not run as root, and it only ever sees our page
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

VIEWPORT: ViewportSize = {"width": 1280, "height": 900}


expect.set_options(
    timeout=30_000
)  # milliseconds: a browser beside other tests on a busy machine takes seconds


@pytest.fixture(scope="session")
def chromium() -> str:
    """The program. A session's fixture comes before all others: a skip is said before anything was opened."""
    path = os.environ.get("GATEWAY360_CHROMIUM") or shutil.which("chromium")
    if path is None:
        pytest.skip("no Chromium: install Debian's package `chromium`, or name one in GATEWAY360_CHROMIUM")
    return path


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(1_772_000_000.0)  # 2026-02-25, 06:13:20 UTC


@pytest_asyncio.fixture(loop_scope="package")
async def gateway(clock: FakeClock) -> AsyncIterator[Sandbox]:
    async with Sandbox(clock=clock) as gateway:
        yield gateway


@pytest_asyncio.fixture(loop_scope="package")
async def app() -> AsyncIterator[str]:
    """The address of an application that takes delivery reports."""

    async def take(request: StarletteRequest) -> Response:
        await request.json()
        return Response(status_code=204)

    server = HttpServer(Starlette(routes=[Route("/reports", take, methods=["POST"])]), keep_alive=1.0)
    listener = socket.create_server(("127.0.0.1", 0))
    await server.start(listener)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/reports"
    await server.aclose()


@pytest.fixture
def trouble() -> list[str]:
    """The faults of a page: it may not log an error, raise one, or ask another server than the sandbox."""
    return []


async def make_context(browser: Browser) -> BrowserContext:
    context = await browser.new_context(
        viewport=VIEWPORT, device_scale_factor=1.5, locale="en-GB", timezone_id="UTC"
    )
    context.set_default_timeout(30_000)
    return context


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    context = await make_context(browser)
    yield context
    await context.close()


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def shared_page(context: BrowserContext) -> Page:
    return await context.new_page()


@pytest_asyncio.fixture(loop_scope="package")
async def bare_page(shared_page: Page) -> AsyncIterator[Page]:
    """A page that goes on to the next test, in one process: what a test may change of its window is put back."""
    page = shared_page
    yield page
    for other in page.context.pages:
        if other is not page:
            await other.close()
    # It waits for no route: a test that failed may hold one for good.
    await page.unroute_all(behavior="ignoreErrors")
    await page.context.clear_permissions()
    await page.emulate_media(color_scheme="null", reduced_motion="null")
    await page.set_viewport_size(VIEWPORT)
    await page.mouse.move(0, 0)


@contextlib.asynccontextmanager
async def showing(page: Page, gateway: Sandbox, trouble: list[str]) -> AsyncIterator[None]:
    """Show the phone, whose page has no fault but those that the test takes out of its list."""

    def logged(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            trouble.append(f"{message.type}: {message.text}")

    def raised(error: Error) -> None:
        trouble.append(str(error))

    def asked(request: Request) -> None:
        if not request.url.startswith(f"{gateway.base_url}/"):
            trouble.append(f"asked {request.url}")

    page.on("console", logged)
    page.on("pageerror", raised)
    page.on("request", asked)
    try:
        await page.goto(gateway.base_url)
        yield
        assert trouble == []
    finally:
        page.remove_listener("console", logged)
        page.remove_listener("pageerror", raised)
        page.remove_listener("request", asked)


@pytest_asyncio.fixture(loop_scope="package")
async def page(bare_page: Page, gateway: Sandbox, trouble: list[str]) -> AsyncIterator[Page]:
    try:
        async with showing(bare_page, gateway, trouble):
            yield bare_page
    finally:
        # Its scripts end before the sandbox does: no complaint of theirs comes to the next test.
        await bare_page.goto(f"{gateway.base_url}/_phone/icon.svg")


@pytest_asyncio.fixture(loop_scope="package")
async def own_page(browser: Browser, gateway: Sandbox, trouble: list[str]) -> AsyncIterator[Page]:
    """The phone in a window of its own, for what cannot be put back: a clock, a script, a sandbox that is gone."""
    context = await make_context(browser)
    page = await context.new_page()
    async with showing(page, gateway, trouble):
        yield page
    await context.close()


@pytest.fixture
def open_beside() -> Callable[[Page, str], Awaitable[Page]]:
    """Open another page as a link of the first would: in its process, and with its connections."""

    async def open_beside(page: Page, url: str) -> Page:
        async with page.expect_popup() as popup:
            await page.evaluate("url => { window.open(url); }", url)
        beside = await popup.value
        await beside.wait_for_load_state()
        return beside

    return open_beside


@pytest.fixture
def shoot() -> Callable[..., Awaitable[None]]:
    """Save what a page looks like, for a person to see: only where GATEWAY360_SCREENSHOTS names a folder."""
    folder = os.environ.get("GATEWAY360_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)

    async def shoot(page: Page, name: str, **options: Any) -> None:
        if folder:
            await page.screenshot(path=Path(folder) / name, **options)

    return shoot
