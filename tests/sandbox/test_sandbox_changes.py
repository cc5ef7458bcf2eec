"""Watching a sandbox: what is told, from where, and that a slow or forgotten observer costs nothing."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest
from support.sandbox_account import NUMBER, OTHER, Account, ask

from gateway360_async.sandbox import Change, Sandbox, Watch, _changes
from gateway360_async.sandbox._changes import Changes


def waiting(watch: Watch) -> list[str]:
    """Take the changes that wait for an observer."""
    kinds = list(watch._waiting)
    watch.skip()
    return kinds


async def test_watch_tells_each_kind_of_change():
    account = Account()
    watch = account.watch()
    account.ask()
    assert waiting(watch) == ["message", "request"]
    account.ask()
    assert waiting(watch) == ["pin", "message", "request"]  # the PIN before it is void
    account.ask(sender="")
    assert waiting(watch) == ["request"]
    account.verify()
    assert waiting(watch) == ["pin", "request"]
    account.check_pin(NUMBER, account.last_pin(NUMBER))
    assert waiting(watch) == ["pin"]
    account.check_pin(NUMBER, account.last_pin(NUMBER))  # it was used
    account.check_pin(OTHER, "x")
    assert waiting(watch) == []
    account.ask()
    assert waiting(watch) == ["message", "request"]  # the PIN before it was void already
    account.clear()
    account.undo_clear()
    assert waiting(watch) == ["cleared", "cleared"]


async def test_watch_tells_of_faults_and_reports():
    async with Sandbox(delivery=()) as sandbox:
        watch = sandbox.watch()
        sandbox.fail_next()
        assert waiting(watch) == ["switch"]
        await ask(sandbox)
        assert waiting(watch) == ["switch", "request"]  # one fault less to come
        await ask(sandbox, report_url="http://192.0.2.1/reports")
        watch.skip()
        await sandbox.report(sandbox.messages[-1])
        assert waiting(watch) == ["report"]


@pytest.mark.parametrize(
    ("change", "name", "value"),
    [
        *(
            (lambda s, name=name, value=value: setattr(s, name, value), name, value)
            for name, value in {
                "balance": 5,
                "latency": 5.0,
                "hlr_fail_prefix": "49",
                "delivery": (),
                "delivery_delay": 5.0,
                "verify_answer": "flat",
            }.items()
        ),
        (lambda s: s.block(), "blocked", True),
        (lambda s: s.unblock(), "blocked", False),
        (lambda s: s.lose_next_answer(), "pending_faults", ["lose"]),
        (lambda s: s.delay_next(1), "pending_faults", ["delay"]),
        (lambda s: s.answer_next(200, b""), "pending_faults", ["answer"]),
        (lambda s: s.throttle_next(), "pending_faults", ["throttle"]),
        *(
            (lambda s, name=name: setattr(s.faults, name, True), "faults", None)
            for name in ("lose_answers", "throttle", "fail")
        ),
    ],
)
async def test_watch_tells_of_a_switch_when_it_is_set(change, name, value, monkeypatch):
    sandbox = Sandbox()
    watch = sandbox.watch()
    seen = []
    monkeypatch.setattr(Watch, "tell", lambda watch, kind: seen.append((kind, getattr(sandbox, name))))
    change(sandbox)
    assert watch is not None
    assert seen == [("switch", sandbox.faults if value is None else value)]


async def test_watch_ends_with_the_sandbox_after_its_changes():
    async def collect() -> list[str]:
        return [change.kind async for change in watch]

    async with Sandbox() as sandbox:
        watch = sandbox.watch()
        task = asyncio.create_task(collect())
        await ask(sandbox)
        sandbox.clear()
        late = sandbox.watch()
        sandbox.block()
    assert await task == ["message", "request", "cleared", "switch"]
    assert [change async for change in late] == [Change("switch")]
    assert [change async for change in sandbox.watch()] == []
    sandbox.clear()
    assert waiting(watch) == []


async def test_watch_that_is_closed_ends():
    sandbox = Sandbox()
    watch = sandbox.watch()
    task = asyncio.create_task(anext(watch))
    await asyncio.sleep(0)
    await watch.aclose()
    with pytest.raises(StopAsyncIteration):
        await task
    sandbox.block()
    assert waiting(watch) == []


async def test_watch_of_each_observer_has_each_change():
    sandbox = Sandbox()
    first, second = sandbox.watch(), sandbox.watch()
    sandbox.block()
    assert (await anext(first), await anext(second)) == (Change("switch"), Change("switch"))


async def test_watch_that_two_tasks_share_gives_each_a_change():
    sandbox = Sandbox()
    watch = sandbox.watch()
    tasks = [asyncio.create_task(anext(watch)) for _ in range(2)]
    await asyncio.sleep(0)
    sandbox.block()
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    assert (len(done), len(pending)) == (1, 1)
    sandbox.clear()
    assert {task.result() for task in (await asyncio.wait(tasks))[0]} == {Change("switch"), Change("cleared")}


async def test_watch_that_is_forgotten_is_gone():
    changes = Changes()
    kept, forgotten = changes.watch(), changes.watch()
    changes.tell("pin")
    await asyncio.sleep(0)  # its loop holds it until it was woken
    del forgotten
    gc.collect()
    changes.tell("switch")
    assert waiting(kept) == ["pin", "switch"]
    latest = changes.watch()
    assert [known() for known in changes._watches] == [kept, latest]
    del latest
    gc.collect()
    changes.close()
    assert [change async for change in kept] == []


async def test_watch_that_is_slow_has_one_of_each_kind(monkeypatch):
    monkeypatch.setattr(_changes, "_MOST_WAITING", 3)
    changes = Changes()
    watch = changes.watch()
    for kind in ("pin", "message", "message", "message", "request", "request", "pin", "switch"):
        changes.tell(kind)
    assert waiting(watch) == ["pin", "message", "message", "request", "switch"]


async def test_watch_wakes_a_loop_that_stands_still_once(monkeypatch):
    changes = Changes()
    watch = changes.watch()
    woken = []
    call_soon = watch._loop.call_soon_threadsafe
    monkeypatch.setattr(
        watch._loop, "call_soon_threadsafe", lambda callback: woken.append(call_soon(callback))
    )
    for _ in range(3):
        changes.tell("pin")
    assert len(woken) == 1
    assert [await anext(watch) for _ in range(3)] == [Change("pin")] * 3
    task = asyncio.create_task(anext(watch))
    await asyncio.sleep(0)
    changes.tell("pin")
    assert await task == Change("pin")
    assert len(woken) == 2


async def test_watch_tells_a_change_of_another_thread():
    sandbox = Sandbox()
    watch = sandbox.watch()
    task = asyncio.create_task(anext(watch))
    await asyncio.sleep(0)
    await asyncio.to_thread(sandbox.block)
    assert await task == Change("switch")


def test_watch_whose_loop_is_closed_raises_nothing():
    sandbox = Sandbox()

    async def watched() -> Watch:
        return sandbox.watch()

    watch = asyncio.run(watched())
    sandbox.block()
    assert waiting(watch) == ["switch"]


async def test_watch_lives_in_another_loop_than_the_sandbox():
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
        await ask(sandbox)
    await asyncio.to_thread(thread.join, 5)
    assert kinds == ["message", "request"]


def test_watch_without_an_event_loop_is_refused():
    with pytest.raises(RuntimeError, match="no running event loop"):
        Sandbox().watch()
