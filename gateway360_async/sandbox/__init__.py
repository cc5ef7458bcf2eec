"""The gateway, embedded: real HTTP on loopback, the vendor's answers, and no SMS.

    async with Sandbox() as gateway:
        async with Gateway360Client(gateway.api_key, base_url=gateway.base_url) as client:
            result = await client.request_pin("34666666111", sender="GOOD PIZZA")
        assert result.disposition is Disposition.SENT
        assert gateway.messages[0].sender == "GOOD PIZZA"
        assert gateway.check_pin("34666666111", gateway.last_pin("34666666111"))

It answers `POST /api/2fa/request` with `{"status":"ok"}`, `POST /api/2fa/verify` with the result of a try (below),
and both with one of these ids. Both are at `/api/3.0/2fa/…`, too.

| error_id | HTTP | when |
|---|---|---|
| `INVALID_CONTENT_TYPE` | 400 | the content type is not `application/json` |
| `JSON_PARSE_ERROR` | 400 | the body is not a JSON object in UTF-8, or has a key twice |
| `MISSING_PARAMS` | 400 | `api_key`, `msisdn`, `sender` (of a request) or `pin` (of a verification) is missing |
| `UNAUTHORIZED` | 401 | the key is not `Sandbox.api_key`, or blocked: `Sandbox.block()` |
| `BAD_PARAMS` | 400 | `sender`, `report_url` or `pin` is wrong, or `msisdn` is no string |
| `INVALID_PIN_PARAMS` | 400 | `pin_params`, or a field in it, is wrong |
| `INVALID_HLR_LOOKUP_PARAM` | 400 | `hlr_lookup` is neither the number 1 nor the number 0 |
| `INVALID_SMS_TEXT` | 400 | `sms_text` does not hold `{PIN}` once, or is too long |
| `INVALID_SENDER` | 400 | the sender is one of `Sandbox(forbidden_senders=…)` |
| `INVALID_NUMBER` | 200 | the number is no MSISDN; or it begins with `HLR_FAIL_PREFIX`, `34744`, and the HLR lookup is on |
| `NOT_ENOUGH_BALANCE` | 400 | `Sandbox.balance` is used up; an SMS costs 1 |

As the gateway, it takes digits that begin with a calling code and nothing else, and knows no region: the client reads
what people type (`Gateway360Client(region="ES")`), before anything is sent.

The vendor publishes the HTTP status of three of them (200, 401, and 400 for `JSON_PARSE_ERROR`); 400 for the
others is our choice. `UNKNOWN_ERROR` is never given.

A verification is answered with HTTP 200 and

    {"status":"ok","result":{"verified":false,"previously_verified":false,"tries_remaining":2,"message":"…"}}

`tries_remaining` is how many more failed tries the PIN would bear: `null` for any number (`max_tries` is 0), and 0
where the number has no valid PIN. `previously_verified` is true for the right PIN of a number that it has confirmed
already. The vendor does not publish this answer's shape to us: this one is the likeliest, and the others that may be
are `Sandbox(verify_answer=…)`, or `Sandbox.verify_answer` later: `"flat"` (the fields beside `status`), `"camel"`
(`triesRemaining`), `"list"` (`result` is a list of one).

An accepted request with a `report_url` has a delivery report, or several: `Sandbox(delivery=…)`, `Sandbox.report()`.
They are POSTed as the vendor does, but to this machine only: to `localhost`, 127.0.0.0/8 and ::1. The dates in them
are in UTC, which is our choice, and `custom` is empty. `Message.reports` has the result of each.

Faults, for the next request or for all of them:

| for the next | for all | what happens |
|---|---|---|
| `lose_next_answer()` | `faults.lose_answers` | the SMS is sent, and the connection closed without an answer |
| `throttle_next()` | `faults.throttle`, `faults.retry_after` | HTTP 429; nothing is sent |
| `fail_next()` | `faults.fail` | a bare HTTP 5xx; nothing is sent |
| `answer_next(…)` | | an answer of your own; nothing is sent |
| `delay_next(seconds)` | `latency` | the SMS is sent, later |
| | `block()`, `balance`, `hlr_fail_prefix` | the error ids above |

A browser that opens `Sandbox.base_url` is shown a phone: every SMS as it comes, which PINs are void and why, each
request with its answer, and switches for what goes wrong for all. `gateway360 sandbox --open` does both.
"""

try:
    from ._sandbox import Sandbox
except ImportError as exc:
    raise ImportError("the sandbox needs starlette and uvicorn: install gateway360-async[sandbox]") from exc

from ._changes import Change, ChangeKind, Watch
from ._faults import Faults
from ._gateway import HLR_FAIL_PREFIX
from ._records import (
    FaultKind,
    Message,
    Operation,
    PostedReport,
    ReceivedRequest,
    VerifyAnswer,
    VoidReason,
)

__all__ = [
    "HLR_FAIL_PREFIX",
    "Change",
    "ChangeKind",
    "FaultKind",
    "Faults",
    "Message",
    "Operation",
    "PostedReport",
    "ReceivedRequest",
    "Sandbox",
    "VerifyAnswer",
    "VoidReason",
    "Watch",
]
