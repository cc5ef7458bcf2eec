"""Watching a sandbox: who is told what, from where, and that a slow or forgotten watcher costs nothing."""

from __future__ import annotations

import asyncio
import gc
import threading

import httpx
import pytest

from gateway360_async.sandbox import Change, Sandbox, Watch, _changes
from gateway360_async.sandbox._changes import Changes

NUMBER = "34666666111"


def waiting(watch: Watch) -> list[str]:
    """Take what waits for a watcher."""
    kinds = list(watch._waiting)
    watch._waiting.clear()
    return kinds


async def post(sandbox: Sandbox, operation: str = "request", **fields: str) -> None:
    body = {"api_key": sandbox.api_key, "msisdn": NUMBER, "sender": "X", **fields}
    async with httpx.AsyncClient(base_url=sandbox.base_url, trust_env=False) as http:
        await http.post(f"/api/2fa/{operation}", json=body)


async def test_what_is_told_of():
    async with Sandbox(delivery=()) as sandbox:
        watch = sandbox.watch()
        await post(sandbox)
        assert waiting(watch) == ["message", "request"]
        await post(sandbox)
        assert waiting(watch) == ["pin", "message", "request"]  # the PIN before it is void
        await post(sandbox, sender="")
        assert waiting(watch) == ["request"]
        await post(sandbox, "verify", pin="x")
        assert waiting(watch) == ["pin", "request"]
        sandbox.check_pin(NUMBER, sandbox.last_pin(NUMBER) or "")
        assert waiting(watch) == ["pin"]
        sandbox.check_pin(NUMBER, sandbox.last_pin(NUMBER) or "")  # it was used
        sandbox.check_pin("34666666222", "x")
        assert waiting(watch) == []
        await post(sandbox)
        assert waiting(watch) == ["message", "request"]  # the PIN before it was void already
        sandbox.fail_next()
        assert waiting(watch) == ["switch"]
        await post(sandbox)
        assert waiting(watch) == ["switch", "request"]  # one fault less to come
        sandbox.clear()
        assert waiting(watch) == ["cleared"]
        await post(sandbox, report_url="http://192.0.2.1/reports")
        waiting(watch)
        await sandbox.report(sandbox.messages[-1])
        assert waiting(watch) == ["report"]


@pytest.mark.parametrize(
    ("change", "name", "value"),
    [
        (lambda s: setattr(s, "balance", 5), "balance", 5),
        (lambda s: setattr(s, "latency", 5.0), "latency", 5.0),
        (lambda s: setattr(s, "hlr_fail_prefix", "49"), "hlr_fail_prefix", "49"),
        (lambda s: setattr(s, "delivery", ()), "delivery", ()),
        (lambda s: setattr(s, "delivery_delay", 5.0), "delivery_delay", 5.0),
        (lambda s: s.block(), "blocked", True),
        (lambda s: s.unblock(), "blocked", False),
        (lambda s: s.lose_next_answer(), "pending_faults", ["lose"]),
        (lambda s: s.delay_next(1), "pending_faults", ["delay"]),
        (lambda s: s.answer_next(200, b""), "pending_faults", ["answer"]),
        (lambda s: s.throttle_next(), "pending_faults", ["throttle"]),
    ],
)
async def test_switches_are_told_of_when_they_are_set(change, name, value, monkeypatch):
    sandbox = Sandbox()
    seen = []
    monkeypatch.setattr(sandbox._changes, "tell", lambda kind: seen.append((kind, getattr(sandbox, name))))
    change(sandbox)
    assert seen == [("switch", value)]


@pytest.mark.parametrize("name", ["lose_answers", "throttle", "fail"])
async def test_standing_switches_are_told_of(name):
    sandbox = Sandbox()
    watch = sandbox.watch()
    setattr(sandbox.faults, name, True)
    assert waiting(watch) == ["switch"]


async def test_a_watcher_waits_and_ends_with_the_sandbox():
    async def collect() -> list[Change]:
        return [change async for change in watch]

    async with Sandbox() as sandbox:
        watch = sandbox.watch()
        task = asyncio.create_task(collect())
        await post(sandbox)
        sandbox.clear()
    assert await task == [Change("message"), Change("request"), Change("cleared")]
    assert [change async for change in sandbox.watch()] == []
    sandbox.clear()
    assert waiting(watch) == []


async def test_what_waits_is_told_before_the_end():
    async with Sandbox() as sandbox:
        watch = sandbox.watch()
        sandbox.block()
    assert [change.kind async for change in watch] == ["switch"]


async def test_a_watcher_that_is_closed():
    sandbox = Sandbox()
    watch = sandbox.watch()
    task = asyncio.create_task(anext(watch))
    await asyncio.sleep(0)
    await watch.aclose()
    with pytest.raises(StopAsyncIteration):
        await task
    sandbox.block()
    assert waiting(watch) == []


async def test_each_watcher_is_told():
    sandbox = Sandbox()
    first, second = sandbox.watch(), sandbox.watch()
    sandbox.block()
    assert (await anext(first), await anext(second)) == (Change("switch"), Change("switch"))


async def test_two_who_share_a_watch_get_a_change_each():
    sandbox = Sandbox()
    watch = sandbox.watch()
    tasks = [asyncio.create_task(anext(watch)) for _ in range(2)]
    await asyncio.sleep(0)
    sandbox.block()
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    assert (len(done), len(pending)) == (1, 1)
    sandbox.clear()
    assert {task.result() for task in (await asyncio.wait(tasks))[0]} == {Change("switch"), Change("cleared")}


async def test_a_forgotten_watcher_is_gone():
    changes = Changes()
    kept, forgotten = changes.watch(), changes.watch()
    changes.tell("pin")
    await asyncio.sleep(0)  # its loop holds it until it was woken
    del forgotten
    gc.collect()
    changes.tell("switch")
    assert waiting(kept) == ["pin", "switch"]
    assert [known() is kept for known in changes._watches] == [True, False]
    latest = changes.watch()
    assert [known() for known in changes._watches] == [kept, latest]
    del latest
    gc.collect()
    changes.close()
    assert [change async for change in kept] == []


async def test_a_slow_watcher_is_told_of_each_kind(monkeypatch):
    monkeypatch.setattr(_changes, "_MOST_WAITING", 3)
    changes = Changes()
    watch = changes.watch()
    for kind in ("pin", "message", "message", "message", "request", "request", "pin", "switch"):
        changes.tell(kind)
    assert waiting(watch) == ["pin", "message", "message", "request", "switch"]


async def test_a_loop_that_stands_still_does_not_fill_up(monkeypatch):
    changes = Changes()
    watch = changes.watch()
    scheduled = []
    call_soon = watch._loop.call_soon_threadsafe
    monkeypatch.setattr(
        watch._loop, "call_soon_threadsafe", lambda callback: scheduled.append(call_soon(callback))
    )
    for _ in range(3):
        changes.tell("pin")
    assert len(scheduled) == 1
    await asyncio.sleep(0)
    changes.tell("pin")
    assert len(scheduled) == 2


async def test_a_change_from_another_thread():
    sandbox = Sandbox()
    watch = sandbox.watch()
    task = asyncio.create_task(anext(watch))
    await asyncio.sleep(0)
    await asyncio.to_thread(sandbox.block)
    assert await task == Change("switch")


def test_a_watcher_whose_loop_is_gone():
    sandbox = Sandbox()

    async def watched() -> Watch:
        return sandbox.watch()

    watch = asyncio.run(watched())
    sandbox.block()
    assert waiting(watch) == ["switch"]


async def test_a_watcher_in_another_loop_than_the_sandboxs():
    kinds: list[str] = []
    watching = threading.Event()

    async def watched() -> None:
        watch = sandbox.watch()
        watching.set()
        kinds.extend([change.kind async for change in watch])

    async with Sandbox() as sandbox:
        thread = threading.Thread(target=asyncio.run, args=(watched(),))
        thread.start()
        await asyncio.to_thread(watching.wait, 5)
        await post(sandbox)
    await asyncio.to_thread(thread.join, 5)
    assert kinds == ["message", "request"]


def test_watching_needs_an_event_loop():
    with pytest.raises(RuntimeError, match="no running event loop"):
        Sandbox().watch()
