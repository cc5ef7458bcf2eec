"""The ready answers: what the client says of each, through respx, and that they are the sandbox's."""

from __future__ import annotations

import httpx
import pytest
import respx
from support.vector_data import RESPONSES

from gateway360_async import ApiError, ErrorId, Gateway360Client, NotVerified, Ok, RetryPolicy, Verified
from gateway360_async.sandbox._checks import Refusal
from gateway360_async.testing import answers

NUMBER = "34666666111"


def client(**settings) -> Gateway360Client:
    return Gateway360Client("k3y", sender="GOOD PIZZA", retry=RetryPolicy(base_delay=0.0), **settings)


async def request(*mocked):
    """Ask for a PIN, and return the result and the number of requests that it took."""
    with respx.mock:
        route = respx.post(answers.REQUEST_URL).mock(side_effect=[*mocked, *[mocked[-1]] * 3])
        async with client() as sender:
            return await sender.request_pin(NUMBER), route.call_count


async def verify(answer):
    with respx.mock:
        respx.post(answers.VERIFY_URL).mock(return_value=answer)
        async with client() as sender:
            return await sender.verify_pin(NUMBER, "1234")


@pytest.mark.parametrize("error_id", [*ErrorId, "AN_ID_OF_TOMORROW"])
async def test_error_is_an_api_error_of_each_id(error_id):
    result, count = await request(answers.error(error_id))
    assert isinstance(result, ApiError)
    assert (result.error_id, count) == (error_id, 1)
    assert result.disposition == ("maybe_sent" if error_id == "UNKNOWN_ERROR" else "not_sent")


async def test_error_has_a_text_and_a_status_of_ones_own():
    result, _ = await request(answers.error("BAD_PARAMS", "said so", http_status=422))
    assert (result.error_msg, result.http_status) == ("said so", 422)


async def test_throttled_is_tried_again():
    result, count = await request(answers.throttled())
    assert (result.kind, result.disposition, count) == ("throttled", "not_sent", 4)
    result, count = await request(answers.throttled(), answers.ok())
    assert (type(result), count) == (Ok, 2)
    result, count = await request(answers.throttled(retry_after=3600))
    assert (result.kind, result.retry_after, count) == ("throttled", 3600.0, 1)  # past the deadline


@pytest.mark.parametrize(
    ("answer", "kind", "http_status"),
    [
        (answers.server_error(), "http_status", 500),
        (answers.server_error(503), "http_status", 503),
        (answers.bad_gateway(), "http_status", 502),
        (answers.empty(), "unreadable", 200),
        (answers.lost(), "disconnected", None),
        (answers.late(), "timeout", None),
        # A connection that was refused, which respx cannot show: it takes the request before it raises.
        (httpx.ConnectError, None, None),
    ],
    ids=["server_error", "503", "bad_gateway", "empty", "lost", "late", "refused"],
)
async def test_answer_that_says_nothing_may_mean_sent(answer, kind, http_status):
    result, count = await request(answer)
    assert (result.disposition, result.http_status, count) == ("maybe_sent", http_status, 1)
    assert kind in {None, result.kind}


async def test_connection_that_is_refused_is_not_sent():
    async with client(base_url="http://127.0.0.1:1") as sender:
        assert (await sender.request_pin(NUMBER)).disposition == "not_sent"


async def test_answers_to_verify_pin_are_its_results():
    result = await verify(answers.verified())
    assert isinstance(result, Verified)
    assert result.verified_before is False
    for answer, before, left in (
        (answers.not_verified(), False, 2),
        (answers.not_verified(None), False, None),
        (answers.verified_before(), True, 0),
    ):
        result = await verify(answer)
        assert isinstance(result, NotVerified)
        assert (result.verified_before, result.tries_remaining) == (before, left)


async def test_answers_do_for_a_mock_transport_too():
    transport = httpx.MockTransport(lambda request: answers.error("UNAUTHORIZED"))
    async with httpx.AsyncClient(transport=transport) as ready, client(transport=ready) as sender:
        assert (await sender.request_pin(NUMBER)).error_id is ErrorId.UNAUTHORIZED


@pytest.mark.parametrize("name", [name for name in answers.__all__ if name.islower()])
def test_answer_is_a_new_one_at_each_call(name):
    arguments = ("BAD_PARAMS",) if name == "error" else ()
    make = getattr(answers, name)
    assert make(*arguments) is not make(*arguments)


@pytest.mark.parametrize("vector_id", ["ok", "hlr-error-200", "parse-error"])
def test_answer_that_is_published_is_given_to_the_letter(vector_id):
    (vector,) = [vector for vector in RESPONSES if vector["id"] == vector_id]
    made = answers.ok() if vector_id == "ok" else answers.error(vector["expect"]["error_id"])
    assert (made.content, made.status_code) == (vector["body"].encode(), vector["http_status"])
    assert made.headers["content-type"] == "application/json"


@pytest.mark.parametrize("error_id", [error_id for error_id in ErrorId if error_id != "UNKNOWN_ERROR"])
def test_statuses_of_errors_are_the_sandboxs(error_id):
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
