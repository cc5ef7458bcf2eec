"""The ready answers: what the client says of each, through respx, and that they are the sandbox's."""

from __future__ import annotations

import httpx
import pytest
import respx
from vector_data import RESPONSES

from gateway360_async import (
    ApiError,
    Disposition,
    ErrorId,
    FailureKind,
    Gateway360Client,
    NotVerified,
    Ok,
    RetryPolicy,
    TransportFailure,
    Verified,
)
from gateway360_async.sandbox._checks import Refusal
from gateway360_async.testing import answers

NUMBER = "34666666111"


def client(**settings) -> Gateway360Client:
    return Gateway360Client("k3y", sender="GOOD PIZZA", retry=RetryPolicy(base_delay=0.0), **settings)


async def request(**mocked):
    with respx.mock:
        route = respx.post(answers.REQUEST_URL).mock(**mocked)
        async with client() as one:
            return await one.request_pin(NUMBER), route.call_count


async def verify(answer):
    with respx.mock:
        respx.post(answers.VERIFY_URL).mock(return_value=answer)
        async with client() as one:
            return await one.verify_pin(NUMBER, "1234")


async def test_ok():
    result, count = await request(return_value=answers.ok())
    assert isinstance(result, Ok)
    assert count == 1


@pytest.mark.parametrize("error_id", [*ErrorId, "AN_ID_OF_TOMORROW"])
async def test_every_error_id(error_id):
    result, count = await request(return_value=answers.error(error_id))
    assert isinstance(result, ApiError)
    assert result.error_id == error_id
    unknown = error_id == ErrorId.UNKNOWN_ERROR
    assert result.disposition is (Disposition.MAYBE_SENT if unknown else Disposition.NOT_SENT)
    assert count == 1


async def test_an_error_with_a_text_and_a_status_of_ones_own():
    result, _ = await request(return_value=answers.error("BAD_PARAMS", "said so", http_status=422))
    assert (result.error_msg, result.http_status) == ("said so", 422)


async def test_throttled_is_repeated_and_then_given_up():
    result, count = await request(return_value=answers.throttled())
    assert isinstance(result, TransportFailure)
    assert (result.kind, result.disposition) == (FailureKind.THROTTLED, Disposition.NOT_SENT)
    assert count == 4
    result, count = await request(side_effect=[answers.throttled(), answers.ok()])
    assert isinstance(result, Ok)
    assert count == 2


async def test_throttled_says_when_to_come_again():
    result, count = await request(return_value=answers.throttled(retry_after=3600))
    assert (result.kind, result.retry_after) == (FailureKind.THROTTLED, 3600.0)
    assert count == 1  # past the deadline


@pytest.mark.parametrize(
    ("answer", "kind", "http_status"),
    [
        (answers.server_error, FailureKind.HTTP_STATUS, 500),
        (lambda: answers.server_error(503), FailureKind.HTTP_STATUS, 503),
        (answers.bad_gateway, FailureKind.HTTP_STATUS, 502),
        (answers.empty, FailureKind.UNREADABLE, 200),
    ],
    ids=["server_error", "server_error of a kind", "bad_gateway", "empty"],
)
async def test_an_answer_that_says_nothing_may_mean_sent(answer, kind, http_status):
    result, count = await request(return_value=answer())
    assert isinstance(result, TransportFailure)
    assert (result.kind, result.http_status) == (kind, http_status)
    assert result.disposition is Disposition.MAYBE_SENT
    assert count == 1


@pytest.mark.parametrize(
    ("error", "kind"), [(answers.lost, FailureKind.DISCONNECTED), (answers.late, FailureKind.TIMEOUT)]
)
async def test_an_answer_that_does_not_come_may_mean_sent(error, kind):
    result, count = await request(side_effect=error())
    assert isinstance(result, TransportFailure)
    assert (result.kind, result.disposition) == (kind, Disposition.MAYBE_SENT)
    assert count == 1


async def test_what_respx_cannot_show_a_connection_that_was_refused():
    """As the module says: the sandbox can, and so can a port where nobody listens."""
    result, _ = await request(side_effect=httpx.ConnectError)
    assert result.disposition is Disposition.MAYBE_SENT
    async with client(base_url="http://127.0.0.1:1") as one:
        assert (await one.request_pin(NUMBER)).disposition is Disposition.NOT_SENT


async def test_a_pin_that_is_right():
    result = await verify(answers.verified())
    assert isinstance(result, Verified)
    assert result.verified_before is False


async def test_a_pin_that_is_wrong():
    result = await verify(answers.not_verified())
    assert isinstance(result, NotVerified)
    assert result.tries_remaining == 2
    assert (await verify(answers.not_verified(None))).tries_remaining is None
    result = await verify(answers.verified_before())
    assert isinstance(result, NotVerified)
    assert (result.verified_before, result.tries_remaining) == (True, 0)


async def test_they_do_for_a_transport_that_is_mocked_too():
    transport = httpx.MockTransport(lambda request: answers.error("UNAUTHORIZED"))
    async with httpx.AsyncClient(transport=transport) as ready, client(transport=ready) as one:
        assert (await one.request_pin(NUMBER)).error_id is ErrorId.UNAUTHORIZED


def test_each_call_makes_a_new_one():
    for name in answers.__all__:
        make = getattr(answers, name)
        if callable(make):
            arguments = ("BAD_PARAMS",) if name == "error" else ()
            assert make(*arguments) is not make(*arguments)


@pytest.mark.parametrize("vector_id", ["ok", "hlr-error-200", "parse-error"])
def test_what_is_published_is_given_to_the_letter(vector_id):
    (vector,) = [vector for vector in RESPONSES if vector["id"] == vector_id]
    made = answers.ok() if vector_id == "ok" else answers.error(vector["expect"]["error_id"])
    assert made.content == vector["body"].encode()
    assert made.status_code == vector["http_status"]
    assert made.headers["content-type"] == "application/json"


@pytest.mark.parametrize("error_id", [error_id for error_id in ErrorId if error_id != "UNKNOWN_ERROR"])
def test_the_statuses_are_the_sandboxs(error_id):
    assert answers.error(error_id).status_code == Refusal(error_id, "").http_status


def test_answers_to_a_verification_are_the_sandboxs(sandbox):
    def ask(operation, **fields):
        body = {"api_key": sandbox.api_key, "msisdn": NUMBER, **fields}
        return httpx.post(f"{sandbox.base_url}/api/2fa/{operation}", json=body).json()

    ask("request", sender="GOOD PIZZA")
    assert ask("verify", pin="wrong") == answers.not_verified().json()
    ask("request", sender="GOOD PIZZA")
    pin = sandbox.last_pin(NUMBER)
    assert ask("verify", pin=pin) == answers.verified().json()
    assert ask("verify", pin=pin) == answers.verified_before().json()
