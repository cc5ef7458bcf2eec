"""The client under a guard: what it refuses sends nothing, and what reached the gateway counts."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from support.loopback import Server, free_port, in_turn, ok, rst, silence, status

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
        (SpendGuard(allowed_regions={"ES"}), [SPAIN[0], ELSEWHERE], FailureKind.REGION_NOT_ALLOWED),
        (SpendGuard(per_number=1), [SPAIN[0], SPAIN[0]], FailureKind.NUMBER_LIMIT),
        (SpendGuard(attempts=1), [SPAIN[0], ELSEWHERE], FailureKind.ATTEMPT_LIMIT),
        (SpendGuard(per_prefix=1), SPAIN[:2], FailureKind.PREFIX_LIMIT),
        (SpendGuard(per_client=1), [SPAIN[0], ELSEWHERE], FailureKind.CLIENT_LIMIT),
        (SpendGuard(total=1), [SPAIN[0], ELSEWHERE], FailureKind.TOTAL_LIMIT),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_request_refused_by_the_guard_is_not_sent_and_says_why(guard, numbers, kind):
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


async def test_request_that_never_reached_the_gateway_is_not_counted():
    retry = RetryPolicy(base_delay=0.0)
    port = free_port()
    async with client_for(f"http://127.0.0.1:{port}", guard=SpendGuard(total=1), retry=retry) as client:
        assert {(await client.request_pin(number)).kind for number in SPAIN} == {FailureKind.CONNECT}
        async with Server(port=port):
            assert isinstance(await client.request_pin(SPAIN[0]), Ok)


INVALID_NUMBER = status(200, b'{"status":"error","error_id":"INVALID_NUMBER"}')


async def test_lost_answer_counts_as_sms():
    async with Server(rst) as server, client_for(server.url, guard=SpendGuard(total=1)) as client:
        assert isinstance(await client.request_pin(SPAIN[0]), TransportFailure)
        assert (await client.request_pin(SPAIN[1])).kind is FailureKind.TOTAL_LIMIT
    assert server.posts == 1


async def test_three_failed_lookups_leave_room_for_the_fourth_number():
    answers = in_turn(INVALID_NUMBER, INVALID_NUMBER, INVALID_NUMBER, ok)
    guard = SpendGuard(per_client=1, per_prefix=1, total=1, attempts=4)
    async with Server(answers) as server, client_for(server.url, guard=guard) as client:
        results = [await client.request_pin(number) for number in SPAIN[:5]]
    assert [type(result) for result in results[:4]] == [ApiError, ApiError, ApiError, Ok]
    assert results[4].kind is FailureKind.ATTEMPT_LIMIT
    assert server.posts == 4


@pytest.mark.parametrize(("waits", "counts"), [(False, True), (True, False)], ids=["after", "before"])
async def test_call_cancelled_counts_if_its_first_byte_had_left(waits, counts):
    settings = {"guard": SpendGuard(total=2), "concurrency": 1}
    async with Server(silence) as server, client_for(server.url, **settings) as client:
        calls = [asyncio.create_task(client.request_pin(number)) for number in SPAIN[:2]]
        await server.wait(lambda: server.posts == 1)
        assert (await client.request_pin(SPAIN[2])).kind is FailureKind.TOTAL_LIMIT
        calls[waits].cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await calls[waits]
        third = asyncio.create_task(client.request_pin(SPAIN[2], deadline=0.05))
        assert ((await third).kind is FailureKind.TOTAL_LIMIT) is counts
        for call in calls:
            call.cancel()


async def test_call_that_shares_or_repeats_counts_once():
    settings = {"guard": SpendGuard(total=1), "cooldown": 60}
    async with Server() as server, client_for(server.url, **settings) as client:
        results = await asyncio.gather(*(client.request_pin(SPAIN[0]) for _ in range(3)))
        results.append(await client.request_pin(SPAIN[0]))
    assert all(isinstance(result, Ok) for result in results)
    assert server.posts == 1


def test_guard_of_another_type_is_refused():
    with pytest.raises(InvalidConfiguration) as caught:
        Gateway360Client("k3y", guard={"total": 3})
    assert caught.value.setting == "guard"
