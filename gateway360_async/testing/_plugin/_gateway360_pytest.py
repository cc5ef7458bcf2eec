"""The pytest plugin of gateway360-async: its fixtures are described in `gateway360_async.testing`.

Rules of this module:

- pytest loads it in every run wherever the library is installed, used or not. So it stands beside the package
  (importing anything of that imports an HTTP library, and takes a quarter of a second), imports nothing but
  pytest, and its fixtures import what they need.
- No fixture here is a coroutine: pytest-asyncio in either mode, anyio's plugin and no plugin at all are the same
  to it.
- What is missing is said in one line.
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
    """A clock that stands still until `gateway360_clock.advance(seconds)`; the sandbox's PINs expire by it."""
    from gateway360_async.testing import FakeClock  # noqa: PLC0415  # see the rules above, here and below

    return FakeClock()


@pytest.fixture
def gateway360_sandbox(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ThreadedSandbox]:
    """A gateway that sends no SMS, new for each test, which the environment names: see its `last_pin(number)`."""
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
    if "gateway360_clock" in request.fixturenames:
        clock: FakeClock = request.getfixturevalue("gateway360_clock")
        sandbox = ThreadedSandbox(clock=clock)
    else:
        sandbox = ThreadedSandbox()
    with serving(sandbox):
        for name, value in environment(sandbox).items():
            monkeypatch.setenv(name, value)
        yield sandbox


@pytest.fixture
def gateway360_client(gateway360_sandbox: ThreadedSandbox) -> Gateway360Client:
    """A client for the sandbox, with a sender, of the event loop that uses it first. Nothing of it has to be closed."""
    from gateway360_async import Gateway360Client, RetryPolicy  # noqa: PLC0415
    from gateway360_async.testing._transport import OneShotTransport  # noqa: PLC0415

    return Gateway360Client(
        gateway360_sandbox.api_key,
        base_url=gateway360_sandbox.base_url,
        sender="GOOD PIZZA",
        # When the test is over there is nothing left to close, wherever its event loop is by then.
        transport=OneShotTransport(),
        retry=RetryPolicy(base_delay=0.0),
    )
