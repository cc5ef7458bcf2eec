from __future__ import annotations

import asyncio
import atexit
import gc
import importlib.util
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.postgres_process import share_what_is_made
from support.redis_process import ABSENT, PROGRAM, RedisProcess, put_on_path

from gateway360_async import RetryPolicy
from gateway360_async.testing import ThreadedSandbox

# A shell lets what it runs in the background ignore Ctrl-C, and so would the programs that the tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

put_on_path()
share_what_is_made()

# Branches are counted in the processes that run tests, and not in those that the tests start.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.pop("COVERAGE_PROCESS_CONFIG", None)

# Where compiled files are not wanted beside their sources, each process that a test starts would compile all that it
# imports, and pytest itself all tests: they have a folder in common instead, which the next run finds again where it can
# be kept.
if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
    compiled = Path(__file__).parents[1] / ".pytest_cache" / "compiled"
    try:
        compiled.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=compiled):
            os.environ["PYTHONPYCACHEPREFIX"] = str(compiled)
    except OSError:
        os.environ["PYTHONPYCACHEPREFIX"] = tempfile.mkdtemp(prefix="compiled-")
        atexit.register(shutil.rmtree, os.environ["PYTHONPYCACHEPREFIX"], ignore_errors=True)
    sys.dont_write_bytecode, sys.pycache_prefix = False, os.environ["PYTHONPYCACHEPREFIX"]

# httpcore imports it at each step of a request: where it is absent, it is looked for in all folders, thousands of times.
if importlib.util.find_spec("sniffio") is None:
    sys.modules["sniffio"] = None  # type: ignore[assignment]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Run single files and tests in this process, where a start is quick; folders of them run on every core.

    And in one process more: many tests wait, for a server's clock or for a process.
    """
    return (os.cpu_count() or 1) + 1 if all(Path(argument).is_dir() for argument in config.args) else 0


def pytest_collection_finish() -> None:
    """Let the collector leave alone what stays to the end: thousands of tests, which it went through again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy, certificate or setting of the machine's, or of the shell's, reaches a test."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    settings = "API_KEY BASE_URL CONCURRENCY COOLDOWN LOG REGION STORE"
    for name in settings.split():
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
def make_redis() -> type[RedisProcess]:
    """Servers with settings of the test's own; a test that only has a program started needs this fixture as well."""
    if shutil.which(PROGRAM) is None:
        pytest.skip(ABSENT)
    return RedisProcess


@pytest.fixture(scope="session")
def _one_redis(make_redis: type[RedisProcess]) -> Iterator[RedisProcess]:
    with make_redis() as process:
        yield process


@pytest.fixture
def redis(_one_redis: RedisProcess) -> RedisProcess:
    """A Redis that holds nothing: for tests that neither end it nor hold it up."""
    _one_redis.client.flushall()
    return _one_redis


@pytest.fixture
def restarting(make_redis: type[RedisProcess]) -> Iterator[RedisProcess]:
    """A Redis of the test's own, to be ended and begun again with its data."""
    with make_redis(durable=True) as process:
        yield process
