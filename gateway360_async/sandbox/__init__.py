"""The gateway, embedded: a real HTTP server on loopback that answers as the vendor publishes, and sends no SMS.

    async with Sandbox() as gateway:
        async with Gateway360Client(gateway.api_key, base_url=gateway.base_url) as client:
            result = await client.request_pin("34666666111", sender="GOOD PIZZA")
        assert result.disposition is Disposition.SENT
        assert gateway.messages[0].sender == "GOOD PIZZA"
        assert gateway.check_pin("34666666111", gateway.last_pin("34666666111"))

It answers `POST /api/2fa/request`, and `/api/3.0/2fa/request`, with `{"status":"ok"}` or one of these ids:

| error_id | HTTP | when |
|---|---|---|
| `INVALID_CONTENT_TYPE` | 400 | the content type is not `application/json` |
| `JSON_PARSE_ERROR` | 400 | the body is not a JSON object in UTF-8, or has a key twice |
| `MISSING_PARAMS` | 400 | `api_key`, `msisdn` or `sender` is missing |
| `UNAUTHORIZED` | 401 | the key is not `Sandbox.api_key`, or blocked: `Sandbox.block()` |
| `BAD_PARAMS` | 400 | `sender` or `report_url` is wrong, or `msisdn` is no string |
| `INVALID_PIN_PARAMS` | 400 | `pin_params`, or a field in it, is wrong |
| `INVALID_HLR_LOOKUP_PARAM` | 400 | `hlr_lookup` is neither the number 1 nor the number 0 |
| `INVALID_SMS_TEXT` | 400 | `sms_text` does not hold `{PIN}` once, or is too long |
| `INVALID_SENDER` | 400 | the sender is one of `Sandbox(forbidden_senders=…)` |
| `INVALID_NUMBER` | 200 | the number is no MSISDN; or it begins with `HLR_FAIL_PREFIX`, `99999`, and the HLR lookup is on |
| `NOT_ENOUGH_BALANCE` | 400 | `Sandbox.balance` is used up; an SMS costs 1 |

The vendor publishes the HTTP status of three of them (200, 401, and 400 for `JSON_PARSE_ERROR`); 400 for the
others is our choice. `UNKNOWN_ERROR` is never given, and no delivery report is sent.
"""

try:
    from ._server import Sandbox
except ImportError as exc:
    raise ImportError("the sandbox needs starlette and uvicorn: install gateway360-async[sandbox]") from exc

from ._gateway import HLR_FAIL_PREFIX
from ._records import Message, ReceivedRequest, VoidReason

__all__ = ["HLR_FAIL_PREFIX", "Message", "ReceivedRequest", "Sandbox", "VoidReason"]
