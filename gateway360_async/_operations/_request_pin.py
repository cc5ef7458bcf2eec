"""Request PIN: a request to the bytes of its body, an HTTP answer to a result.

Invariants:

- No I/O and no clock: the same every time.
- An application's hooks on cattrs' global converter cannot change what goes on the wire.
- The envelope decides, not the HTTP status: an error can come with 200. If the two contradict each other, or there
  is no envelope, the answer is `MAYBE_SENT` unless HTTP itself says that the request was refused.
- No text that is made here holds a part of the answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from operator import attrgetter
from typing import Any, Final, cast

import attrs

from .._models import PinRequest
from .._redaction import Secret, SecretBytes
from .._results import ApiError, Disposition, FailureKind, Ok, PinResult, TransportFailure
from ._json import UnreadableError, read_json

REQUEST_HEADERS: Final[Mapping[str, str]] = {
    "Content-Type": "application/json",
    "Accept": "application/json",
    # Identity only: a compressed answer can unfold to a thousand times its size.
    "Accept-Encoding": "identity",
}

MAX_ANSWER_BYTES: Final = 64 * 1024
"""Bytes of an answer's body that are read at most. A published envelope has about a hundred."""


@cache
def _unstructure() -> Callable[[PinRequest], dict[str, Any]]:
    # Imported with the first request: cattrs takes as long to import as all of this package.
    from cattrs import Converter  # noqa: PLC0415
    from cattrs.gen import make_dict_unstructure_fn, override  # noqa: PLC0415

    return make_dict_unstructure_fn(
        PinRequest,
        Converter(),
        _cattrs_omit_if_default=True,
        hlr_lookup=override(omit_if_default=False, unstruct_hook=int),
        line_types=override(omit=True),  # it says how the number was checked, and nothing to the gateway
    )


_all_but_the_number: Final = attrgetter(
    *(field.name for field in attrs.fields(PinRequest) if field.name not in ("msisdn", "line_types"))
)

# ASCII escapes: nothing on the way can mistake the encoding, and one character stays one character.
_encode_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def dump(fields: Mapping[str, object]) -> SecretBytes:
    """Return the JSON body of fields, one of which is the key."""
    return SecretBytes(_encode_json(fields).encode("ascii"))


def encoder(api_key: Secret) -> Callable[[PinRequest], SecretBytes]:
    """Return the function that makes the bodies of one account's requests.

    The bytes around the number are kept from one request to the next, which takes a fifth of the time.
    """
    # In a closure, as in a `Secret`: what dumps objects prints their attributes, not a function's cells.
    of: object = None
    before = after = b""

    def encode(request: PinRequest) -> SecretBytes:
        nonlocal of, before, after
        rest = _all_but_the_number(request)
        if rest != of:
            fields = _unstructure()(request)
            del fields["msisdn"]
            # Without the closing quote and brace of the one, and the opening brace of the other.
            before = SecretBytes(dump({"api_key": api_key.reveal(), "msisdn": ""})[:-2])
            after = SecretBytes(b'",' + dump(fields)[1:])
            of = rest
        return SecretBytes(before + request.msisdn.encode("ascii") + after)

    return encode


def canonical(request: PinRequest) -> bytes:
    """Return the bytes by which a request is told from any other: its body, but for the key."""
    return _encode_json(_unstructure()(request)).encode("ascii")


def decode(
    http_status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    attempts: int = 1,
    elapsed: float = 0.0,
    retry_after: float | None = None,
) -> PinResult:
    """Read an HTTP answer. Never raises.

    Args:
        http_status: The status code.
        headers: The headers; names in any case.
        body: The body as it was received, without any decoding.
        attempts: Exchanges so far, for the result, like the seconds in `elapsed` and `retry_after`.
        elapsed: Seconds so far.
        retry_after: Seconds that the answer asked to wait.
    """
    if http_status == 200 and body == b'{"status":"ok"}' and not _is_compressed(headers):
        return Ok(attempts, elapsed)  # the published answer, to the letter: no need to parse it
    fields: dict[str, Any] = {}
    problem = "there is no envelope"
    refused = _refused_by_http(http_status)
    try:
        fields = _read_object(headers, body)
    except UnreadableError as exc:
        problem = str(exc)
        refused = refused and not _may_be_an_envelope(headers, body)
    status, error_id = storable(fields.get("status")), storable(fields.get("error_id"))
    if status == "ok" and 200 <= http_status < 300 and fields.get("error_id") is None:
        return Ok(attempts, elapsed)
    if status == "error" and error_id:
        message = storable(fields.get("error_msg"))
        return ApiError(error_id, message, http_status, attempts, elapsed, retry_after)
    if status is not None:
        problem = "the envelope contradicts itself or the HTTP status"
        # A 429 without an id is still a 429; everything else that contradicts itself may mean anything.
        refused = status == "error" and http_status == 429
    kind = FailureKind.UNREADABLE if 200 <= http_status < 300 else FailureKind.HTTP_STATUS
    return TransportFailure(
        kind=FailureKind.THROTTLED if http_status == 429 else kind,
        disposition=Disposition.NOT_SENT if refused else Disposition.MAYBE_SENT,
        http_status=http_status,
        detail=f"HTTP {http_status}: {problem}",
        attempts=attempts,
        elapsed=elapsed,
        retry_after=retry_after,
    )


def storable(value: object) -> str | None:
    """Return a text of an answer; `None` for another type. A lone surrogate would break its printing or storing."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else None


def read_fields(headers: Mapping[str, str], body: bytes) -> dict[str, Any] | None:
    try:
        return _read_object(headers, body)
    except UnreadableError:
        return None


def _refused_by_http(http_status: int) -> bool:
    """Whether the status alone says that the request had no effect (RFC 9110, sections 15.4 and 15.5).

    Not 303: a server points with it to the outcome of a request that it did carry out.
    """
    return 400 <= http_status < 500 or http_status in (301, 302, 307, 308)


def _may_be_an_envelope(headers: Mapping[str, str], body: bytes) -> bool:
    """Whether an unreadable body may have been an envelope: a proxy's error page is HTML, plain text or empty."""
    return _is_compressed(headers) or body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")


_ENCODING_LENGTH: Final = len("content-encoding")


def _is_compressed(headers: Mapping[str, str]) -> bool:
    # All of them: a field may come on several lines, and is then one list (RFC 9110, section 5.3), which some
    # mappings give in one piece and others line by line.
    for name, value in headers.items():
        if len(name) == _ENCODING_LENGTH and name.lower() == "content-encoding":
            codings = {coding.strip().lower() for coding in value.split(",")}
            if codings - {"", "identity"}:
                return True
    return False


def _read_object(headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    if _is_compressed(headers):
        raise UnreadableError("the body is compressed, although identity was asked for")
    document = read_json(body, max_bytes=MAX_ANSWER_BYTES)
    if not isinstance(document, dict):
        raise UnreadableError("the JSON is not an object")
    return cast("dict[str, Any]", document)
