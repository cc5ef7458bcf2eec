"""The plugin as pytest loads it: in this run, and in runs of their own with every way to run a coroutine."""

from __future__ import annotations

import asyncio
import os
import sys
import time

import pytest
from support.plugins import alone

from gateway360_async import Gateway360Client, Ok
from gateway360_async.sandbox import Sandbox
from gateway360_async.testing import FakeClock, ThreadedSandbox

pytest_plugins = ["pytester"]

NUMBER = "34666666111"

# Some start a Python of their own, which takes seconds on a machine that is busy.
pytestmark = pytest.mark.timeout(120)


def run(pytester: pytest.Pytester, *options: str, plugin: str = "") -> pytest.RunResult:
    """Run pytest in a process of its own, where every warning is an error: of an import, or of a socket left open."""
    pytester.makeini("[pytest]\nfilterwarnings = error\n")
    command = [sys.executable, "-X", "dev", "-W", "error", "-m", "pytest", *alone(plugin), *options]
    return pytester.run(*command)


def test_sandbox_fixture_is_named_by_the_environment(gateway360_sandbox):
    assert isinstance(gateway360_sandbox, ThreadedSandbox)
    assert os.environ["GATEWAY360_BASE_URL"] == gateway360_sandbox.base_url
    assert os.environ["GATEWAY360_API_KEY"] == gateway360_sandbox.api_key


@pytest.mark.parametrize("time_", [1, 2])
async def test_sandbox_fixture_is_a_new_one_for_each_test(time_, gateway360_sandbox, gateway360_client):
    before = time.time()
    assert gateway360_sandbox.messages == []
    assert isinstance(await gateway360_client.request_pin(NUMBER), Ok)
    (message,) = gateway360_sandbox.messages
    assert message.sent_at >= before


def test_sandbox_fixture_leaves_the_environment_as_it_was():
    assert "GATEWAY360_BASE_URL" not in os.environ
    assert "GATEWAY360_API_KEY" not in os.environ


async def test_clock_fixture_is_the_sandboxs(gateway360_client, gateway360_sandbox, gateway360_clock):
    assert isinstance(gateway360_clock, FakeClock)
    await gateway360_client.request_pin(NUMBER)
    (message,) = gateway360_sandbox.messages
    assert (message.sent_at, message.void_reason) == (gateway360_clock(), None)
    gateway360_clock.advance(3600)
    assert message.void_reason == "expired"


@pytest.fixture
def a_year_later(gateway360_clock):
    return gateway360_clock.advance(365 * 86_400)


async def test_clock_fixture_behind_another_fixture_counts(
    gateway360_client, gateway360_sandbox, a_year_later
):
    await gateway360_client.request_pin(NUMBER)
    assert gateway360_sandbox.messages[0].sent_at == a_year_later


async def test_client_fixture_does_not_wait_between_attempts(gateway360_sandbox, gateway360_client):
    gateway360_sandbox.throttle_next(3)
    assert (await gateway360_client.request_pin(NUMBER)).attempts == 4
    async with gateway360_client as client:
        assert isinstance(client, Gateway360Client)


def test_client_fixture_leaves_nothing_in_its_loop(gateway360_sandbox, gateway360_client):
    """Some plugins close a loop without another turn: nothing may wait for one."""
    gateway360_sandbox.answer_next(200, b"")
    gateway360_sandbox.lose_next_answer()
    loop = asyncio.new_event_loop()
    try:
        for number in (NUMBER, "34666666112", "34666666113"):
            loop.run_until_complete(gateway360_client.request_pin(number))
            assert asyncio.all_tasks(loop) == set()
    finally:
        loop.close()
    assert [request.fault for request in gateway360_sandbox.requests] == ["answer", "lose", None]


def test_sandbox_fixture_without_the_extra_says_what_to_install(request, monkeypatch):
    for name in list(sys.modules):
        if name.startswith(("gateway360_async.sandbox", "gateway360_async.testing._sandbox")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(pytest.fail.Exception) as caught:
        request.getfixturevalue("gateway360_sandbox")
    assert str(caught.value) == (
        "gateway360_sandbox: the sandbox needs starlette and uvicorn: install gateway360-async[sandbox]; "
        "import of uvicorn halted; None in sys.modules"
    )


def test_sandbox_fixture_names_a_fault_of_our_own(request, monkeypatch):
    monkeypatch.delitem(sys.modules, "gateway360_async.testing._sandbox")
    monkeypatch.setattr("gateway360_async.sandbox.Sandbox", Sandbox)
    monkeypatch.delattr("gateway360_async.sandbox.PostedReport")
    with pytest.raises(
        pytest.fail.Exception, match=r"^gateway360_sandbox: cannot import name 'PostedReport'"
    ):
        request.getfixturevalue("gateway360_sandbox")


def test_plugin_in_a_run_without_the_extra_says_so_in_one_line(pytester):
    pytester.makeconftest("""
        import sys
        sys.modules["uvicorn"] = None
    """)
    pytester.makepyfile("""
        def test_that_has_nothing_to_do_with_it():
            pass

        def test_with_the_clock(gateway360_clock):
            assert gateway360_clock.advance(1) == gateway360_clock()

        def test_with_a_sandbox(gateway360_sandbox):
            pass
    """)
    result = run(pytester)
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*gateway360_sandbox: *install gateway360-async[[]sandbox[]]*"])
    assert "_gateway360_pytest.py:" not in result.stdout.str()  # no traceback: one line


def test_plugin_of_a_library_already_imported_gives_no_warning(pytester):
    """pytest warns of a plugin's package that it comes too late for. Only where that is installed, not in a checkout."""
    pytester.makepyfile("def test_with_a_sandbox(gateway360_sandbox): pass")
    program = "import gateway360_async, pytest, sys; sys.exit(pytest.main(sys.argv[1:]))"
    options = ("-W", "error", *alone())
    result = pytester.run(sys.executable, "-W", "error", "-c", program, *options)
    result.assert_outcomes(passed=1)


# A test with a client: a call that is answered, one that is not, one that is cancelled, and many.
CALLS = """
    import asyncio
    from gateway360_async import Disposition

    async def calls(client, sandbox):
        assert (await client.request_pin("34666666111")).disposition is Disposition.SENT
        sandbox.lose_next_answer()
        assert (await client.request_pin("34666666112")).disposition is Disposition.MAYBE_SENT
        sandbox.delay_next(60)
        watch = sandbox.watch()
        call = asyncio.create_task(client.request_pin("34666666113"))
        while (await anext(watch)).kind != "switch" or sandbox.pending_faults:
            pass
        call.cancel()
        await asyncio.wait((call,))
        numbers = [str(34666666200 + n) for n in range(20)]
        assert {result.disposition for result in await client.send_all(numbers)} == {Disposition.SENT}
        assert len(sandbox.messages) == 22
"""


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_plugin_works_with_pytest_asyncio(pytester, mode):
    pytester.makepyfile(
        calls=CALLS,
        test_it="""
            import pytest
            from calls import calls

            @pytest.mark.asyncio
            async def test_a_coroutine(gateway360_client, gateway360_sandbox):
                await calls(gateway360_client, gateway360_sandbox)

            @pytest.mark.asyncio(loop_scope="module")
            async def test_in_a_loop_that_lives_longer(gateway360_sandbox, gateway360_client):
                await calls(gateway360_client, gateway360_sandbox)

            @pytest.mark.asyncio(loop_scope="module")
            async def test_and_another_in_the_same(gateway360_sandbox, gateway360_client):
                await calls(gateway360_client, gateway360_sandbox)

            class TestInAClass:
                @pytest.mark.asyncio
                async def test_a_method(self, gateway360_client, gateway360_sandbox):
                    await calls(gateway360_client, gateway360_sandbox)
        """,
    )
    scope = "asyncio_default_fixture_loop_scope=function"
    run(pytester, f"--asyncio-mode={mode}", "-o", scope, plugin="asyncio").assert_outcomes(passed=4)


def test_plugin_works_with_anyio(pytester):
    pytester.makepyfile(
        calls=CALLS,
        test_it="""
            import pytest
            from calls import calls

            pytestmark = pytest.mark.anyio

            @pytest.fixture
            def anyio_backend():
                return "asyncio"

            async def test_a_coroutine(gateway360_client, gateway360_sandbox):
                await calls(gateway360_client, gateway360_sandbox)

            @pytest.fixture
            async def told(gateway360_client, anyio_backend):
                yield await gateway360_client.request_pin("34666666999")
                await gateway360_client.request_pin("34666666998")

            async def test_with_a_fixture_that_is_one(told, gateway360_client, gateway360_sandbox):
                gateway360_sandbox.clear()
                await calls(gateway360_client, gateway360_sandbox)
        """,
    )
    run(pytester, plugin="anyio").assert_outcomes(passed=2)


def test_plugin_that_is_not_used_imports_next_to_nothing(pytester):
    pytester.makepyfile(
        calls=CALLS,
        test_it="""
            import asyncio
            import sys

            def test_what_is_imported():
                assert "_gateway360_pytest" in sys.modules
                assert "gateway360_async" not in sys.modules
                assert "httpx" not in sys.modules

            def test_with_a_loop_of_its_own(gateway360_client, gateway360_sandbox):
                from calls import calls

                asyncio.run(calls(gateway360_client, gateway360_sandbox))
        """,
    )
    run(pytester).assert_outcomes(passed=2)


def test_sandbox_in_thread_works_with_unittest(pytester):
    pytester.makepyfile(
        calls=CALLS,
        test_it="""
            import os
            import unittest
            from calls import calls
            from gateway360_async import Gateway360Client
            from gateway360_async.testing import sandbox_in_thread

            class Several(unittest.IsolatedAsyncioTestCase):
                def setUp(self):
                    self.sandbox = self.enterContext(sandbox_in_thread())

                async def test_a_coroutine(self):
                    async with Gateway360Client(sender="GOOD PIZZA") as client:
                        await calls(client, self.sandbox)

            class AllTogether(unittest.TestCase):
                @classmethod
                def setUpClass(cls):
                    cls.sandbox = cls.enterClassContext(sandbox_in_thread())

                def test_it_is_named(self):
                    self.assertEqual(os.environ["GATEWAY360_BASE_URL"], self.sandbox.base_url)
        """,
    )
    result = pytester.run(sys.executable, "-X", "dev", "-W", "error", "-m", "unittest", "test_it")
    assert result.ret == 0
    result.stderr.fnmatch_lines(["Ran 2 tests*", "OK"])
    assert "Warning" not in result.stderr.str()
