"""The gateway's answers, for tests that mock HTTP: respx, `httpx.MockTransport`.

    # test_funds.py
    import respx
    from gateway360_async import ErrorId, Gateway360Client, Ok
    from gateway360_async.testing import answers


    @respx.mock
    async def test_an_account_without_funds():
        respx.post(answers.REQUEST_URL).mock(return_value=answers.error("NOT_ENOUGH_BALANCE"))
        async with Gateway360Client("key", sender="GOOD PIZZA") as client:
            result = await client.request_pin("34666666111")
        assert result.error_id is ErrorId.NOT_ENOUGH_BALANCE


    @respx.mock
    async def test_a_gateway_that_is_busy_at_first():
        respx.post(answers.REQUEST_URL).mock(side_effect=[answers.throttled(), answers.ok()])
        async with Gateway360Client("key", sender="GOOD PIZZA") as client:
            assert isinstance(await client.request_pin("34666666111"), Ok)

| what | the client's result |
|---|---|
| `ok()` | `Ok` |
| `error(error_id)` | `ApiError`: `NOT_SENT`, and of `UNKNOWN_ERROR` `MAYBE_SENT` |
| `throttled()` | it tries again; in the end a `TransportFailure` of the kind `THROTTLED`: `NOT_SENT` |
| `server_error()`, `bad_gateway()` | a `TransportFailure` of the kind `HTTP_STATUS`: `MAYBE_SENT` |
| `empty()` | a `TransportFailure` of the kind `UNREADABLE`: `MAYBE_SENT` |
| `lost()` | a `TransportFailure` of the kind `DISCONNECTED`: `MAYBE_SENT` |
| `late()` | a `TransportFailure` of the kind `TIMEOUT`: `MAYBE_SENT` |
| `verified()` | `Verified`, of `verify_pin` |
| `not_verified()`, `verified_before()` | `NotVerified`, of `verify_pin` |

Such a test shows what an application does with each result, and what the client asked for. It cannot show whether a
request left: respx stands in the connection's place, and takes the whole request before it raises anything, so that
the client says `MAYBE_SENT` of an `httpx.ConnectError`, too; of a real connection that was refused it says
`NOT_SENT`. Neither is there a gateway that counts SMS, voids PINs and checks each request: the sandbox does that, over
a real connection.

Every function makes a new answer: a response is read once. An answer that the vendor publishes is given to the letter;
of another, the text says that it is our choice, which is the sandbox's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

import httpx

from .._results import ErrorId

__all__ = [
    "REQUEST_URL",
    "VERIFY_URL",
    "bad_gateway",
    "empty",
    "error",
    "late",
    "lost",
    "not_verified",
    "ok",
    "server_error",
    "throttled",
    "verified",
    "verified_before",
]

REQUEST_URL: Final = "https://api.gateway360.com/api/2fa/request"
"""The URL that `request_pin` posts to, without another `base_url`."""

VERIFY_URL: Final = "https://api.gateway360.com/api/2fa/verify"
"""The same of `verify_pin`."""

# The published ones, and 500 as the vendor calls a 5xx a fault on its side. 400 for the others is our choice.
_HTTP_STATUS: Final[Mapping[str, int]] = {"INVALID_NUMBER": 200, "UNAUTHORIZED": 401, "UNKNOWN_ERROR": 500}
_OTHER_HTTP_STATUS: Final = 400

# Three are published. The texts are for debugging only, and nothing may depend on them.
_ERROR_MSG: Final[Mapping[str, str]] = {
    "INVALID_NUMBER": "HLR query returned error.",
    "UNAUTHORIZED": "Your API key may be invalid or your IP is blocked.",
    "JSON_PARSE_ERROR": "Your JSON was formatted incorrectly.",
}


def ok() -> httpx.Response:
    """Accept the request: one SMS. As published."""
    return _envelope(200, {"status": "ok"})


def error(
    error_id: ErrorId | str, error_msg: str | None = None, *, http_status: int | None = None
) -> httpx.Response:
    """Refuse the request.

    As published for `INVALID_NUMBER` (HTTP 200!), `UNAUTHORIZED` and `JSON_PARSE_ERROR`.

    Args:
        error_id: One of `ErrorId`, or any other: the vendor's set is open.
        error_msg: The text; `None`: the published one, or some other.
        http_status: `None`: the published one. For an id that has none, 500 for `UNKNOWN_ERROR`, and 400 for the
            others, are our choice.
    """
    name = str(error_id)
    status = _HTTP_STATUS.get(name, _OTHER_HTTP_STATUS) if http_status is None else http_status
    text = _ERROR_MSG.get(name, "The request was not accepted.") if error_msg is None else error_msg
    return _envelope(status, {"status": "error", "error_id": name, "error_msg": text})


def throttled(retry_after: int | None = None) -> httpx.Response:
    """Answer 429, as a plain web server would. The vendor publishes nothing about it.

    Args:
        retry_after: Seconds, for the header `Retry-After`; `None`: without it.
    """
    headers = {} if retry_after is None else {"retry-after": str(retry_after)}
    return httpx.Response(429, text="Too Many Requests", headers=headers)


def server_error(http_status: int = 500) -> httpx.Response:
    """Answer a 5xx without a body: a fault on the vendor's side, as it calls it."""
    return httpx.Response(http_status)


def bad_gateway() -> httpx.Response:
    """Answer 502 with a page of HTML: not the gateway's, but a proxy's before it."""
    page = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
    return httpx.Response(502, html=page)


def empty() -> httpx.Response:
    """Answer 200 without a body."""
    return httpx.Response(200)


def lost() -> httpx.ReadError:
    """Lose the answer, by raising this: `mock(side_effect=answers.lost())`."""
    return httpx.ReadError("the connection was closed before the answer")


def late() -> httpx.ReadTimeout:
    """Answer too late, by raising this as `lost()`."""
    return httpx.ReadTimeout("the answer did not come in time")


def verified() -> httpx.Response:
    """Verify the PIN.

    PROVISIONAL, as all answers to `verify_pin`: their shape is not published; this is the likeliest.
    """
    return _verification("The PIN is right.", verified=True, previously_verified=False, tries_remaining=3)


def not_verified(tries_remaining: int | None = 2) -> httpx.Response:
    """Say to `verify_pin` that the PIN is wrong. PROVISIONAL, as `verified()`.

    Args:
        tries_remaining: Tries until the PIN is void; `None`: any number.
    """
    said = "The PIN is wrong."
    return _verification(said, verified=False, previously_verified=False, tries_remaining=tries_remaining)


def verified_before() -> httpx.Response:
    """Say to `verify_pin` that the PIN was used before. PROVISIONAL, as `verified()`."""
    said = "The PIN was verified before."
    return _verification(said, verified=False, previously_verified=True, tries_remaining=0)


def _verification(message: str, **fields: object) -> httpx.Response:
    return _envelope(200, {"status": "ok", "result": {**fields, "message": message}})


def _envelope(http_status: int, fields: Mapping[str, object]) -> httpx.Response:
    content = json.dumps(fields, separators=(",", ":")).encode("ascii")
    return httpx.Response(http_status, content=content, headers={"content-type": "application/json"})
