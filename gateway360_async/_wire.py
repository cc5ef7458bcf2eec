"""The codec: a request to the bytes of its body, an HTTP answer to a result.

Rules of this module:

- No I/O and no clock: bytes in, values out, the same every time.
- attrs become JSON, and JSON becomes attrs, through the one cattrs converter below, which is ours: a hook
  that an application registers on cattrs' global converter cannot change what goes on the wire.
- The answer is not trusted. It is JSON that every parser reads alike (`_json`), at most 64 KiB, or it is no
  envelope.
- The envelope decides, not the HTTP status: an error can come with 200. Where the two contradict each
  other, or there is no envelope, the answer is `MAYBE_SENT` unless HTTP itself says that the request was
  refused (RFC 9110, sections 15.4 and 15.5).
- No text that is made here holds a part of the answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Final, cast

import attrs

from ._json import UnreadableError, read_json
from ._payloads import PinParams, PinRequest
from ._results import ApiError, Disposition, FailureKind, Ok, PinResult, TransportFailure
from ._secret import Secret, SecretBytes

if TYPE_CHECKING:
    from cattrs import Converter

__all__ = [
    "MAX_ANSWER_BYTES",
    "REQUEST_HEADERS",
    "REQUEST_PATH",
    "canonical",
    "decode",
    "dump",
    "encode",
    "encoder",
    "read_fields",
]

REQUEST_PATH: Final = "/2fa/request"
"""The path of Request PIN below the API's prefix."""

REQUEST_HEADERS: Final[Mapping[str, str]] = {
    "Content-Type": "application/json",
    "Accept": "application/json",
    # Identity only: a compressed answer can unfold to a thousand times its size.
    "Accept-Encoding": "identity",
}

MAX_ANSWER_BYTES: Final = 64 * 1024
"""Bytes of an answer's body that are read at most. A published envelope has about a hundred."""


@attrs.frozen
class _Envelope:
    """What the gateway publishes of its answer; `None` where a field is missing or of another type."""

    status: str | None = None
    error_id: str | None = None
    error_msg: str | None = None
    has_error_id: bool = False


@cache
def _converter() -> Converter:
    # Imported with the first request: cattrs takes as long to import as all of this package.
    from cattrs import Converter  # noqa: PLC0415
    from cattrs.gen import make_dict_unstructure_fn, override  # noqa: PLC0415

    converter = Converter()
    unset = override(omit_if_default=True)
    converter.register_unstructure_hook(PinParams, make_dict_unstructure_fn(PinParams, converter))
    converter.register_unstructure_hook(
        PinRequest,
        make_dict_unstructure_fn(
            PinRequest,
            converter,
            hlr_lookup=override(unstruct_hook=int),
            sms_text=unset,
            report_url=unset,
            pin_params=unset,
            line_types=override(omit=True),  # it says how the number was checked, and nothing to the gateway
        ),
    )
    converter.register_structure_hook(_Envelope, _structure_envelope)
    return converter


def _structure_envelope(fields: dict[str, Any], _: type[_Envelope]) -> _Envelope:
    def text(name: str) -> str | None:
        value = fields.get(name)
        # A lone surrogate (an escape such as \ud800) would break whatever prints or stores the text.
        return value.encode("utf-8", "replace").decode() if isinstance(value, str) else None

    return _Envelope(text("status"), text("error_id"), text("error_msg"), fields.get("error_id") is not None)


@cache
def _unstructure_request() -> Callable[[PinRequest], dict[str, Any]]:
    return _converter().get_unstructure_hook(PinRequest)


# ASCII escapes: nothing on the way can mistake the encoding, and one character stays one character.
_encode_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def encode(request: PinRequest, api_key: Secret | str) -> SecretBytes:
    """Make the JSON body of a request. The key is in it, so the body is as secret as the key."""
    key = api_key if isinstance(api_key, str) else api_key.reveal()
    return dump({"api_key": key, **_unstructure_request()(request)})


def dump(fields: Mapping[str, object]) -> SecretBytes:
    """Make a JSON body of fields, one of which is the key."""
    return SecretBytes(_encode_json(fields).encode("ascii"))


def encoder(api_key: Secret) -> Callable[[PinRequest], SecretBytes]:
    """Make what makes the bodies of one account's requests, as `encode` does, one after the other.

    Requests in a row mostly differ in their number alone, and a number is nothing but digits: what is around
    it is made once, and kept for the next. That takes a fifth of the time.

    Args:
        api_key: The account's key.
    """
    # In a closure, as in a `Secret`: what dumps objects prints their attributes, not a function's cells.
    of: tuple[object, ...] = ()
    before = after = b""

    def encode_next(request: PinRequest) -> SecretBytes:
        nonlocal of, before, after
        but_for_its_number = (
            request.sender,
            request.hlr_lookup,
            request.sms_text,
            request.report_url,
            request.pin_params,
        )
        if but_for_its_number != of:
            fields = _unstructure_request()(request)
            del fields["msisdn"]
            # Without the closing quote and brace of the one, and the opening brace of the other.
            before = SecretBytes(dump({"api_key": api_key.reveal(), "msisdn": ""})[:-2])
            after = SecretBytes(b'",' + dump(fields)[1:])
            of = but_for_its_number
        return SecretBytes(before + request.msisdn.encode("ascii") + after)

    return encode_next


def canonical(request: PinRequest) -> bytes:
    """Make the bytes by which a request is told from any other: its body, but for the key."""
    return _encode_json(_unstructure_request()(request)).encode("ascii")


def decode(
    http_status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    attempts: int = 1,
    elapsed: float = 0.0,
    retry_after: float | None = None,
) -> PinResult:
    """Read an HTTP answer.

    Args:
        http_status: The status code.
        headers: The headers; names in any case.
        body: The body as it was received, without any decoding.
        attempts: Exchanges so far, for the result.
        elapsed: Seconds so far, for the result.
        retry_after: Seconds that the answer asked to wait, for the result.

    Returns:
        `Ok` or `ApiError` where there is an envelope, otherwise a `TransportFailure`. Never raises.
    """
    if http_status == 200 and body == b'{"status":"ok"}' and not _is_compressed(headers):
        return Ok(attempts, elapsed)  # the published answer, to the letter: no need to parse it
    envelope, problem = _Envelope(), "there is no envelope"
    refused = _refused_by_http(http_status)
    try:
        envelope = _converter().structure(_read_object(headers, body), _Envelope)
    except UnreadableError as exc:
        problem = str(exc)
        refused = refused and not _may_be_the_gateways_word(headers, body)
    if envelope.status == "ok" and 200 <= http_status < 300 and not envelope.has_error_id:
        return Ok(attempts, elapsed)
    if envelope.status == "error" and envelope.error_id:
        return ApiError(envelope.error_id, envelope.error_msg, http_status, attempts, elapsed, retry_after)
    if envelope.status is not None:
        problem = "the envelope contradicts itself or the HTTP status"
        # A 429 without an id is still a 429; everything else that contradicts itself may mean anything.
        refused = envelope.status == "error" and http_status == 429
    kind = _kind_of_status(http_status)
    return TransportFailure(
        kind=kind,
        disposition=Disposition.NOT_SENT if refused else Disposition.MAYBE_SENT,
        http_status=http_status,
        detail=f"HTTP {http_status}: {problem}",
        attempts=attempts,
        elapsed=elapsed,
        retry_after=retry_after,
    )


def read_fields(headers: Mapping[str, str], body: bytes) -> dict[str, Any] | None:
    """Read a body as a JSON object, as strictly as `decode` does; `None` if it is none."""
    try:
        return _read_object(headers, body)
    except UnreadableError:
        return None


def _kind_of_status(http_status: int) -> FailureKind:
    if http_status == 429:
        return FailureKind.THROTTLED
    return FailureKind.UNREADABLE if 200 <= http_status < 300 else FailureKind.HTTP_STATUS


def _refused_by_http(http_status: int) -> bool:
    """Whether the status alone says that the request had no effect.

    4xx: the request was not fulfilled (RFC 9110, section 15.5; the vendor says the same). 301, 302, 307
    and 308: the resource is elsewhere, so ask there (15.4). Not 303: "see other" is how a server points
    to the outcome of a request that it did carry out.
    """
    return 400 <= http_status < 500 or http_status in (301, 302, 307, 308)


def _may_be_the_gateways_word(headers: Mapping[str, str], body: bytes) -> bool:
    """Whether a body that could not be read may have been an envelope, whose word is lost.

    A proxy's error page is HTML, plain text or empty. A broken JSON object is none of these, and what a
    compressed body says, nobody knows.
    """
    return _is_compressed(headers) or body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")


_ENCODING_LENGTH: Final = len("content-encoding")


def _is_compressed(headers: Mapping[str, str]) -> bool:
    # All of them: a field may come on several lines, and is then one list (RFC 9110, section 5.3), which some
    # mappings give in one piece and others line by line.
    for name, value in headers.items():
        if len(name) == _ENCODING_LENGTH and name.lower() == "content-encoding" and _names_a_coding(value):
            return True
    return False


def _names_a_coding(value: str) -> bool:
    return any(coding.strip().lower() not in ("", "identity") for coding in value.split(","))


def _read_object(headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """Read the body as a JSON object, or raise `UnreadableError`."""
    if _is_compressed(headers):
        raise UnreadableError("the body is compressed, although identity was asked for")
    document = read_json(body, max_bytes=MAX_ANSWER_BYTES)
    if not isinstance(document, dict):
        raise UnreadableError("the JSON is not an object")
    return cast("dict[str, Any]", document)
