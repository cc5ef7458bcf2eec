from __future__ import annotations

import pytest

from gateway360_async import RetryPolicy
from gateway360_async.testing import ThreadedSandbox


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
def sandbox(gateway360_sandbox: ThreadedSandbox) -> ThreadedSandbox:
    """The plugin's own: for code that runs an event loop of its own."""
    return gateway360_sandbox
