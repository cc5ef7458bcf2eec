"""The way to Redis: through its absences, its refusals, and cancellations."""

from __future__ import annotations

import asyncio
import gc

import pytest
from fleet_parts import NAMES, linked
from leaks import reported
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as TookTooLong

from gateway360_async import FleetError
from gateway360_async._redis._link import Link
from gateway360_async._secret import Secret

PASSWORD = "hunter2"  # noqa: S105  # of nothing


@pytest.fixture
async def link(redis):
    async with linked(redis) as link:
        yield link


def failing(*errors):
    """Raise each of these in turn, and then answer."""
    left = list(errors)

    async def ask():
        if left:
            raise left.pop(0)
        return "answer"

    return ask


@pytest.mark.parametrize("error", [NoConnection, TookTooLong, ReadOnlyError, OSError])
async def test_what_may_be_over_in_a_moment_is_asked_again(link, error):
    assert await link._with_patience(failing(error("x"), error("x")), 60.0) == "answer"
    with pytest.raises(FleetError, match=rf"cannot be asked \({error.__name__}\)") as caught:
        await link._with_patience(failing(error("x")), 0.0)
    assert caught.value.passing


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (ResponseError("WRONGTYPE of a key 34666666111"), "WRONGTYPE"),
        (ResponseError("no such thing 34666666111"), "ResponseError"),
    ],
)
async def test_what_redis_refuses_is_said_by_its_name_only(link, error, name):
    with pytest.raises(FleetError) as caught:
        await link._with_patience(failing(error), 60.0)
    assert str(caught.value) == f"the fleet's Redis refuses ({name}); expected one that takes what it is told"
    assert not caught.value.passing


@pytest.mark.parametrize("ends", ["with an answer", "with an error"])
async def test_a_cancellation_that_redis_py_swallows_goes_on(link, ends):
    begun = asyncio.Event()

    async def ask():
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if ends == "with an error":
                raise NoConnection from None
        return "answer"

    asking = asyncio.create_task(link._with_patience(ask, 60.0))
    await begun.wait()
    asking.cancel()
    await asyncio.wait((asking,))
    assert asking.cancelled()


async def test_whoever_was_cancelled_before_may_still_ask(link):
    async def closing():
        asyncio.current_task().cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(0)
        return await link._with_patience(failing(), 0.0)

    assert await asyncio.create_task(closing()) == "answer"


async def test_no_error_shows_the_password_or_what_was_asked(make_redis):
    with make_redis(requirepass=PASSWORD, protected_mode="no") as process:
        for given in ("wrong" + PASSWORD, PASSWORD):
            link = Link(Secret(process.url.replace("unix://", f"unix://:{given}@")), NAMES.memory)
            try:
                if given == PASSWORD:
                    assert await link.memory(patience=1.0)
                    continue
                with pytest.raises(FleetError) as caught:
                    await link.run("memory", [NAMES.memory], ["34666666111"], patience=60.0)
            finally:
                await link.aclose()
    assert "refuses (AuthenticationError)" in str(caught.value)
    assert not [text for text in reported(caught.value) if PASSWORD in text]


async def test_text_that_the_url_asks_for_is_bytes_all_the_same(redis):
    link = Link(Secret(f"{redis.url}?decode_responses=True"), NAMES.memory)
    try:
        assert await link.memory(patience=1.0) == redis.client.get(NAMES.memory)
    finally:
        await link.aclose()


async def test_all_who_ask_first_ask_together_and_each_can_go(redis, caplog):
    async with linked(redis) as link:
        gone, *others = [asyncio.create_task(link.memory(patience=1.0)) for _ in range(3)]
        await asyncio.sleep(0)
        gone.cancel()
        memories = {await other for other in others}
    assert gone.cancelled()
    assert memories == {redis.client.get(NAMES.memory)}
    assert len(caplog.records) == 1


async def test_who_asks_in_the_moment_of_the_answer_has_it_too(link, monkeypatch):
    """Its task runs after the one that asked has ended, and before anybody has heard of that."""
    late = []
    run = link.run

    async def last(*args, **settings):
        answer = await run(*args, **settings)
        late.append(asyncio.ensure_future(link.memory(patience=1.0)))
        return answer

    monkeypatch.setattr(link, "run", last)
    first = await link.memory(patience=1.0)
    assert await late[0] == first


async def test_an_error_that_nobody_waits_for_any_more_makes_no_noise(restarting):
    restarting.kill()
    noise = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context["message"]))
    async with linked(restarting) as link:
        asking = asyncio.create_task(link.memory(patience=0.0))
        await asyncio.sleep(0)
        opening = link._opening
        asking.cancel()
        await asyncio.wait((opening,))
        del opening
    gc.collect()
    assert noise == []


async def test_who_asked_in_vain_asks_again(restarting):
    restarting.kill()
    async with linked(restarting) as link:
        for _ in range(2):
            with pytest.raises(FleetError, match="cannot be asked"):
                await link.memory(patience=0.0)
        restarting.start()
        assert await link.memory(patience=0.0)


async def test_closing_ends_what_is_being_asked(restarting):
    restarting.pause()
    async with linked(restarting) as link:
        asking = asyncio.create_task(link.memory(patience=60.0))
        await asyncio.sleep(0.05)
        asking.cancel()
        await asyncio.wait((asking,))
        opening = link._opening
        assert not opening.done()
    assert opening.cancelled()
    restarting.resume()


async def test_who_comes_just_as_the_memory_is_known_gets_it_at_once():
    """Between the end of the asking and its callback. A loop that waits for the callback would never let it run."""
    link = Link(Secret("redis://127.0.0.1:1/0"), "memory")
    late = []

    async def found(_patience):
        late.append(
            asyncio.create_task(link.memory(patience=0.0))
        )  # its first step comes before any callback
        return "the id"

    link._open = found
    assert await link.memory(patience=0.0) == "the id"
    assert await late[0] == "the id"
    await link.aclose()
