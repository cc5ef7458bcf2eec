from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator

import pytest
from redis_process import RedisProcess

from gateway360_async import RetryPolicy
from gateway360_async.testing import ThreadedSandbox

# A shell lets what it runs in the background ignore Ctrl-C, and so would the programs that the tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy, key or certificate of the machine's reaches a test."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("API_KEY", "BASE_URL", "FLEET", "FLEET_NAME", "FLEET_RATE", "REGION"):
        monkeypatch.delenv(f"GATEWAY360_{name}", raising=False)


@pytest.fixture
def at_once() -> RetryPolicy:
    """The default policy without its pauses."""
    return RetryPolicy(base_delay=0.0)


@pytest.fixture
def later() -> Callable[[float], None]:
    """Put the event loop's clock forward by so many seconds: what is due by then happens next.

    A deadline that passes when the test says so does not depend on how fast the machine is.
    """

    def put_forward(seconds: float) -> None:
        loop = asyncio.get_running_loop()
        time = loop.time
        loop.time = lambda: time() + seconds  # type: ignore[method-assign]

    return put_forward


@pytest.fixture
def sandbox(gateway360_sandbox: ThreadedSandbox) -> ThreadedSandbox:
    """The plugin's own: for code that runs an event loop of its own."""
    return gateway360_sandbox


@pytest.fixture(scope="session")
def _one_redis() -> Iterator[RedisProcess]:
    with RedisProcess() as process:
        yield process


@pytest.fixture
def redis(_one_redis: RedisProcess) -> RedisProcess:
    """A Redis that holds nothing: for tests that neither end it nor hold it up."""
    _one_redis.client.flushall()
    return _one_redis


@pytest.fixture
def restarting() -> Iterator[RedisProcess]:
    """A Redis of the test's own, to be ended and begun again with its data."""
    with RedisProcess(durable=True) as process:
        yield process
