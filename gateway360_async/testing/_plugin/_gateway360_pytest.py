"""The pytest plugin of gateway360-async. `gateway360_async.testing` describes its fixtures.

- pytest loads it in every run wherever the library is installed, used or not. So it stands beside the package
  (importing anything of that imports an HTTP library, and takes a quarter of a second), imports nothing but
  pytest, and its fixtures import what they need.
- No fixture here is a coroutine: pytest-asyncio in either mode, anyio's plugin and no plugin at all are the same
  to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from gateway360_async import Gateway360Client
    from gateway360_async.testing import FakeClock, ThreadedSandbox

__all__ = ["gateway360_client", "gateway360_clock", "gateway360_sandbox"]


@pytest.fixture
def gateway360_clock() -> FakeClock:
    """Make a clock that stands still until `advance(seconds)`; PINs expire by it."""
    from gateway360_async.testing import FakeClock  # noqa: PLC0415  # see the module's text, here and below

    return FakeClock()


@pytest.fixture
def gateway360_sandbox(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ThreadedSandbox]:
    """Run a gateway that sends no SMS, which the environment names: see `last_pin`."""
    try:
        from gateway360_async.testing._sandbox import (  # noqa: PLC0415
            ThreadedSandbox,
            environment,
            serving,
        )
    except ImportError as exc:
        said = "; ".join(str(error) for error in (exc, exc.__cause__) if error is not None)
        pytest.fail(f"gateway360_sandbox: {said}", pytrace=False)
    # Any of its fixtures, or a fixture of its fixtures.
    named = "gateway360_clock" in request.fixturenames
    settings = {"clock": request.getfixturevalue("gateway360_clock")} if named else {}
    sandbox = ThreadedSandbox(**settings)
    with serving(sandbox):
        for name, value in environment(sandbox).items():
            monkeypatch.setenv(name, value)
        yield sandbox


@pytest.fixture
def gateway360_client(gateway360_sandbox: ThreadedSandbox) -> Gateway360Client:
    """Make a client for the sandbox. Nothing of it has to be closed."""
    from gateway360_async import Gateway360Client, RetryPolicy  # noqa: PLC0415
    from gateway360_async.testing._sandbox import OneShotTransport  # noqa: PLC0415

    return Gateway360Client(
        gateway360_sandbox.api_key,
        base_url=gateway360_sandbox.base_url,
        sender="GOOD PIZZA",
        # When the test is over there is nothing left to close, wherever its event loop is by then.
        transport=OneShotTransport(),
        retry=RetryPolicy(base_delay=0.0),
    )
