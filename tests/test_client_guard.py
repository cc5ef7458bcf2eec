"""The client under a guard: what it refuses sends nothing, and what reached the gateway counts."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from loopback import Server, free_port, rst, silence, status

from gateway360_async import (
    ApiError,
    Disposition,
    FailureKind,
    Gateway360Client,
    InvalidConfiguration,
    Ok,
    RetryPolicy,
    SpendGuard,
    TransportFailure,
)

SPAIN = [str(34600000000 + n) for n in range(10)]
ELSEWHERE = "447911123456"


def client_for(url: str, **settings) -> Gateway360Client:
    return Gateway360Client("k3y", base_url=url, sender="PIZZA", **settings)


@pytest.mark.parametrize(
    ("guard", "numbers", "kind"),
    [
        (SpendGuard(allowed_prefixes={"+34"}), [SPAIN[0], ELSEWHERE], FailureKind.PREFIX_NOT_ALLOWED),
        (SpendGuard(per_prefix=1), SPAIN[:2], FailureKind.PREFIX_CEILING),
        (SpendGuard(per_client=1), [SPAIN[0], ELSEWHERE], FailureKind.CLIENT_CEILING),
        (SpendGuard(total=1), [SPAIN[0], ELSEWHERE], FailureKind.TOTAL_CEILING),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_the_guard_refuses_is_not_sent_and_says_why(guard, numbers, kind):
    async with Server() as server, client_for(server.url, guard=guard) as client:
        first, refused = [await client.request_pin(number) for number in numbers]
        (in_batch,) = await client.send_all(numbers[1:])
    assert isinstance(first, Ok)
    for failure in (refused, in_batch):
        assert isinstance(failure, TransportFailure)
        assert (failure.kind, failure.disposition, failure.attempts) == (kind, Disposition.NOT_SENT, 0)
        assert failure.detail
    assert server.posts == 1


async def test_calls_at_a_time_are_counted_before_they_are_sent():
    async with Server() as server, client_for(server.url, guard=SpendGuard(total=3)) as client:
        results = await asyncio.gather(*map(client.request_pin, SPAIN))
    assert sum(isinstance(result, Ok) for result in results) == server.posts == 3


async def test_what_never_reached_the_gateway_does_not_count():
    retry = RetryPolicy(base_delay=0.0)
    port = free_port()
    async with client_for(f"http://127.0.0.1:{port}", guard=SpendGuard(total=1), retry=retry) as client:
        assert {(await client.request_pin(number)).kind for number in SPAIN} == {FailureKind.CONNECT}
        async with Server(port=port):
            assert isinstance(await client.request_pin(SPAIN[0]), Ok)


@pytest.mark.parametrize(
    "behaviour",
    [rst, status(200, b'{"status":"error","error_id":"INVALID_NUMBER"}')],
    ids=["a lost answer", "a refusal"],
)
async def test_what_reached_the_gateway_counts_whatever_it_said(behaviour):
    async with Server(behaviour) as server, client_for(server.url, guard=SpendGuard(total=1)) as client:
        first = await client.request_pin(SPAIN[0])
        assert isinstance(first, (ApiError, TransportFailure))
        assert (await client.request_pin(SPAIN[1])).kind is FailureKind.TOTAL_CEILING
    assert server.posts == 1


@pytest.mark.parametrize(("waits", "counts"), [(False, True), (True, False)], ids=["after", "before"])
async def test_a_call_cancelled_counts_if_its_first_byte_had_left(waits, counts):
    settings = {"guard": SpendGuard(total=2), "concurrency": 1}
    async with Server(silence) as server, client_for(server.url, **settings) as client:
        calls = [asyncio.create_task(client.request_pin(number)) for number in SPAIN[:2]]
        await server.wait(lambda: server.posts == 1)
        assert (await client.request_pin(SPAIN[2])).kind is FailureKind.TOTAL_CEILING
        calls[waits].cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await calls[waits]
        third = asyncio.create_task(client.request_pin(SPAIN[2], deadline=0.05))
        assert ((await third).kind is FailureKind.TOTAL_CEILING) is counts
        for call in calls:
            call.cancel()


async def test_a_call_that_shares_or_repeats_counts_once():
    settings = {"guard": SpendGuard(total=1), "cooldown": 60}
    async with Server() as server, client_for(server.url, **settings) as client:
        results = await asyncio.gather(*(client.request_pin(SPAIN[0]) for _ in range(3)))
        results.append(await client.request_pin(SPAIN[0]))
    assert all(isinstance(result, Ok) for result in results)
    assert server.posts == 1


def test_what_is_no_guard_names_itself():
    with pytest.raises(InvalidConfiguration) as caught:
        Gateway360Client("k3y", guard={"total": 3})
    assert caught.value.setting == "guard"
