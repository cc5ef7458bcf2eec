from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from gateway360_async import RetryPolicy
from gateway360_async.sandbox import Sandbox


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy, key or certificate of the machine's reaches a test."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("GATEWAY360_API_KEY", "GATEWAY360_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def at_once() -> RetryPolicy:
    """The default policy without its pauses."""
    return RetryPolicy(base_delay=0.0)


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A sandbox in a thread of its own, named by the environment: for code that runs an event loop of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    gateway = Sandbox()
    asyncio.run_coroutine_threadsafe(gateway.start(), loop).result(5)
    monkeypatch.setenv("GATEWAY360_API_KEY", gateway.api_key)
    monkeypatch.setenv("GATEWAY360_BASE_URL", gateway.base_url)
    yield gateway
    asyncio.run_coroutine_threadsafe(gateway.aclose(), loop).result(5)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
