"""Tests of an application, unchanged, against a gateway that sends no SMS.

With pytest there is nothing to import. The fixtures come with the package:

| fixture | what it is |
|---|---|
| `gateway360_sandbox` | a `ThreadedSandbox`, new for each test, which `GATEWAY360_BASE_URL` and `GATEWAY360_API_KEY` name as long as it runs: the application finds it by itself |
| `gateway360_client` | a `Gateway360Client` for it, of the event loop that uses it first |
| `gateway360_clock` | a `FakeClock`; a test that has both has a sandbox whose PINs expire by it |

A sign-up view of an application, and its tests:

    # shop.py
    from contextlib import asynccontextmanager

    from gateway360_async import Gateway360Client
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Route


    @asynccontextmanager
    async def lifespan(app):
        async with Gateway360Client(sender="GOOD PIZZA") as client:
            yield {"client": client}


    async def sign_up(request):
        number = (await request.json())["number"]
        result = await request.state.client.request_pin(number)
        return JSONResponse({"sms": result.disposition})


    app = Starlette(routes=[Route("/sign-up", sign_up, methods=["POST"])], lifespan=lifespan)

    # test_shop.py
    from shop import app
    from starlette.testclient import TestClient


    def sign_up(number):
        with TestClient(app) as browser:
            return browser.post("/sign-up", json={"number": number}).json()


    def test_a_sign_up_sends_a_pin_that_confirms_the_number(gateway360_sandbox):
        assert sign_up("+34 666 666 111") == {"sms": "sent"}
        assert gateway360_sandbox.check_pin("34666666111", gateway360_sandbox.last_pin("34666666111"))


    def test_when_the_answer_is_lost_there_is_one_sms_and_the_person_is_told_to_wait(gateway360_sandbox):
        gateway360_sandbox.lose_next_answer()
        assert sign_up("+34 666 666 111") == {"sms": "maybe_sent"}
        assert len(gateway360_sandbox.messages) == 1

The environment is read when a client is made. One that is made as a module is imported was made before the test
began, and talks to whatever gateway was named then: make it where the application starts, as `lifespan` does.

Without pytest, `sandbox_in_thread()` does what the fixture does:

    class SignUp(unittest.TestCase):          # Django's TestCase as well
        def setUp(self):
            self.sandbox = self.enterContext(sandbox_in_thread())

Each fault is asked for by name: `lose_next_answer()`, `throttle_next(retry_after=3)`, `fail_next()`, `block()`,
`balance = 0` and the others of `gateway360_async.sandbox`. For a test that mocks HTTP with respx, the same answers are
in `gateway360_async.testing.answers`, and the limits of such a test are written there.

The sandbox is an extra: the clock and the answers do without it.
"""

from typing import TYPE_CHECKING, Any

from ._clock import FakeClock

if TYPE_CHECKING:
    from ._sandbox import ThreadedSandbox, sandbox_in_thread

__all__ = ["FakeClock", "ThreadedSandbox", "sandbox_in_thread"]


def __getattr__(name: str) -> Any:
    if name not in ("ThreadedSandbox", "sandbox_in_thread"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import _sandbox  # noqa: PLC0415  # an extra, which may be missing: the sandbox says so

    return getattr(_sandbox, name)
