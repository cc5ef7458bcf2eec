"""The public API as users write against it. It is type-checked (mypy and basedpyright, strict), not run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import assert_never, assert_type

import httpx

from gateway360_async import (
    ApiError,
    Batch,
    BatchItem,
    BatchReport,
    BatchResult,
    ClientClosed,
    Disposition,
    ErrorId,
    ErrorScope,
    FailureKind,
    Gateway360Client,
    Gateway360Error,
    InvalidConfiguration,
    InvalidRequest,
    MaybeSentError,
    NotSentError,
    NotVerified,
    Ok,
    PinParams,
    PinRequest,
    PinResult,
    PinType,
    RejectedError,
    ResultError,
    RetryBudget,
    RetryPolicy,
    Skipped,
    SkipReason,
    SpendGuard,
    TransportFailure,
    Verified,
    WrongEventLoop,
    parse_msisdn,
)
from gateway360_async.delivery import DeliveryReport, DeliveryReports, parse_delivery_reports
from gateway360_async.observers import CallFinished, Event, LoggingObserver
from gateway360_async.sandbox import Message, PostedReport, Sandbox
from gateway360_async.testing import FakeClock, ThreadedSandbox, answers, sandbox_in_thread
from gateway360_async.transports import Answer, DirectTransport, Exchange, HttpxTransport, Phase, Transport


def by_class(result: PinResult) -> str:
    match result:
        case Ok(attempts=attempts, elapsed=elapsed):
            return f"{attempts} {elapsed}"
        case ApiError(error_id=ErrorId.INVALID_NUMBER):
            return "that number is not reachable"
        case ApiError(error_id=error_id, error_msg=message, http_status=status):
            assert_type(error_id, ErrorId | str)
            assert_type(message, str | None)
            return f"{error_id} {status}"
        case TransportFailure(kind=kind, disposition=disposition, cause=cause):
            assert_type(kind, FailureKind)
            assert_type(disposition, Disposition)
            assert_type(cause, BaseException | None)
            return f"{kind}"
        case _:
            assert_never(result)


def by_disposition(result: PinResult) -> str:
    match result.disposition:
        case Disposition.SENT:
            return "look at your phone"
        case Disposition.NOT_SENT:
            return "try again"
        case Disposition.MAYBE_SENT:
            return "wait for the SMS before you ask for another"
        case _:
            assert_never(result.disposition)


def by_scope(error: ApiError) -> str:
    match error.scope:
        case ErrorScope.REQUEST | ErrorScope.NUMBER:
            return "the input"
        case ErrorScope.ACCOUNT:
            return "the operator"
        case ErrorScope.CLIENT | ErrorScope.GATEWAY:
            return "us"
        case _:
            assert_never(error.scope)


def of_a_batch(result: BatchResult) -> str:
    match result:
        case Ok() | ApiError() | TransportFailure():
            return by_class(result)
        case Skipped(reason=reason, detail=detail):
            assert_type(reason, SkipReason)
            return detail
        case _:
            assert_never(result)


def unwrapped(result: PinResult) -> Ok:
    try:
        return result.unwrap()
    except RejectedError as exc:
        assert_type(exc.result, ApiError)
        raise
    except (NotSentError, MaybeSentError) as exc:
        assert_type(exc.result, TransportFailure)
        raise
    except ResultError as exc:
        assert_type(exc.result, ApiError | TransportFailure)
        raise


class MyTransport:
    """A transport of a user's own fits the protocol by its shape."""

    async def post(
        self,
        url: str,
        *,
        headers: object,
        body: bytes,
        timeout: httpx.Timeout,
        max_bytes: int,
        exchange: Exchange,
    ) -> Answer:
        exchange.phase = Phase.SENT
        return Answer(200, {}, b'{"status":"ok"}')

    async def aclose(self) -> None: ...


async def lifetimes() -> None:
    mine: Transport = MyTransport()
    async with Gateway360Client("key", transport=mine) as client:
        assert_type(client, Gateway360Client)
    async with httpx.AsyncClient() as ready:
        await Gateway360Client("key", transport=ready).aclose()
        await Gateway360Client("key", transport=DirectTransport()).aclose()
        client = Gateway360Client(
            "key",
            sender="GOOD PIZZA",
            base_url="https://api.gateway360.com",
            path_prefix="/api/3.0",
            transport=HttpxTransport(ready),
            timeout=httpx.Timeout(5.0, read=15.0),
            retry=RetryPolicy(
                max_attempts=2, error_ids=frozenset({ErrorId.INVALID_NUMBER}), budget=RetryBudget(ratio=0.1)
            ),
            deadline=10.0,
            concurrency=50,
        )
        await client.aclose()


async def sending(client: Gateway360Client) -> None:
    params = PinParams(PinType.ALPHA, length=8, expires_in=600, max_tries=5)
    result = await client.request_pin("+34 666 666 111", sender="X", pin_params=params, deadline=5.0)
    assert_type(result, Ok | ApiError | TransportFailure)
    request = PinRequest(
        "34666666111", "GOOD PIZZA", hlr_lookup=False, sms_text="Code {PIN}", pin_params=params
    )
    assert_type(await client.send(request), Ok | ApiError | TransportFailure)
    assert_type(result.attempts, int)
    assert_type(result.elapsed, float)
    try:
        await client.request_pin("")
    except InvalidRequest as exc:
        assert_type(exc.field, str)
    except (ClientClosed, WrongEventLoop, InvalidConfiguration, Gateway360Error):
        raise


async def verifying(client: Gateway360Client) -> None:
    result = await client.verify_pin("+34 666 666 111", "1234", deadline=5.0)
    assert_type(result, Verified | NotVerified | ApiError | TransportFailure)
    match result:
        case Verified(verified_before=before):
            assert_type(before, bool | None)
        case NotVerified(tries_remaining=tries):
            assert_type(tries, int | None)
        case ApiError() | TransportFailure():
            assert_type(result.disposition, Disposition)
        case _:
            assert_never(result)


class Counting:
    def notify(self, event: Event) -> None:
        if isinstance(event, CallFinished):
            assert_type(event.result, Ok | ApiError | TransportFailure | Verified | NotVerified | None)


async def watched(secret: bytes) -> None:
    reports = DeliveryReports("https://example.com/sms", secret)
    client = Gateway360Client(observer=Counting(), reports=reports)
    Gateway360Client(observer=[Counting(), LoggingObserver()])
    lost = await client.request_pin("34666666111")
    known = await client.resolve(lost, timeout=30.0)
    assert_type(known, Ok | ApiError | TransportFailure)
    if isinstance(known, Ok):
        assert_type(known.sms_id, str | None)
    assert_type(parse_delivery_reports(b"[]"), list[DeliveryReport])


def lazily() -> Iterator[PinRequest]:
    yield PinRequest("34666666111", "GOOD PIZZA")


async def asynchronously() -> AsyncIterator[str]:
    yield "34666666111"


async def batches(client: Gateway360Client) -> None:
    async with client.batch(lazily(), concurrency=10, on_duplicate="send", halt_on=()) as batch:
        assert_type(batch, Batch)
        async for item in batch:
            assert_type(item, BatchItem)
            assert_type(item.request, PinRequest | None)
            assert_type(item.result, Ok | ApiError | TransportFailure | Skipped)
    report: BatchReport = batch.report
    assert_type(report.by_disposition[Disposition.SENT], int)
    assert_type(await client.send_all(asynchronously()), list[Ok | ApiError | TransportFailure | Skipped])
    await client.send_all([{"msisdn": "34666666111", "sender": "X"}, "34666666111"])


async def testing() -> None:
    async with (
        Sandbox(balance=10) as gateway,
        Gateway360Client(gateway.api_key, base_url=gateway.base_url) as client,
    ):
        await client.request_pin("34666666111", sender="X")
        message: Message = gateway.messages[0]
        assert_type(message.pin, str)


def guards(prefixes: list[str]) -> None:
    guard = SpendGuard(allowed_prefixes=prefixes, per_prefix=100, per_client=1000, window=60, total=None)
    assert_type(guard.allowed_prefixes, frozenset[str] | None)
    assert_type(guard.per_prefix, int | None)
    assert_type(guard.window, float)
    SpendGuard(allowed_prefixes={"+34", "351"})
    regional = SpendGuard(allowed_regions={"ES", "PT"}, per_number=5, attempts_per_number=10, attempts=100)
    assert_type(regional.allowed_regions, frozenset[str] | None)
    assert_type(regional.attempts, int | None)


def numbers() -> None:
    assert_type(parse_msisdn("666 666 111", region="ES"), str)
    assert_type(parse_msisdn("+34 912 345 678", line_types="any"), str)
    Gateway360Client(region="ES", line_types="any")
    PinRequest("+34 912 345 678", "GOOD PIZZA", line_types="any")


def with_fixtures(gateway360_sandbox: ThreadedSandbox, gateway360_clock: FakeClock) -> None:
    assert_type(gateway360_sandbox.last_pin("34666666111"), str | None)
    assert_type(gateway360_sandbox.wait_until(lambda: gateway360_sandbox.messages), list[Message])
    assert_type(gateway360_sandbox.post_report(gateway360_sandbox.messages[0]), PostedReport)
    assert_type(gateway360_clock.advance(60), float)
    gateway: Sandbox = gateway360_sandbox
    gateway.lose_next_answer()
    with sandbox_in_thread(balance=3, clock=gateway360_clock) as sandbox:
        assert_type(sandbox, ThreadedSandbox)


def with_ready_answers() -> list[httpx.Response | Exception]:
    return [answers.ok(), answers.error(ErrorId.BAD_PARAMS), answers.throttled(retry_after=3), answers.lost()]
