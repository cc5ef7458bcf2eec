"""A real browser: the Chromium that is on the machine, driven by Playwright. None is ever downloaded."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
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


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(1_772_000_000.0)  # 2026-02-25, 06:13:20 UTC


@pytest_asyncio.fixture(loop_scope="module")
async def gateway(clock: FakeClock) -> AsyncIterator[Sandbox]:
    async with Sandbox(clock=clock) as gateway:
        yield gateway


@pytest_asyncio.fixture(loop_scope="module")
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


@pytest_asyncio.fixture(loop_scope="module")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    context = await browser.new_context(
        viewport={"width": 1280, "height": 900}, device_scale_factor=1.5, locale="en-GB", timezone_id="UTC"
    )
    context.set_default_timeout(30_000)
    yield context
    await context.close()


@pytest_asyncio.fixture(loop_scope="module")
async def page(context: BrowserContext, gateway: Sandbox, trouble: list[str]) -> AsyncIterator[Page]:
    page = await context.new_page()

    def logged(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            trouble.append(f"{message.type}: {message.text}")

    def asked(request: Request) -> None:
        if not request.url.startswith(f"{gateway.base_url}/"):
            trouble.append(f"asked {request.url}")

    page.on("console", logged)
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("request", asked)
    await page.goto(gateway.base_url)
    yield page
    assert trouble == []


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """The folder for screenshots."""
    folder = Path(os.environ.get("GATEWAY360_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
