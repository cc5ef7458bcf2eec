"""The operations of the gateway's API: what each one sends, and how its answer is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, Literal, TypeVar

import attrs

from .._models import PinRequest
from .._redaction import Secret, SecretBytes
from .._results import ApiError, NotVerified, Ok, TransportFailure, Verified
from ._json import UnreadableError, read_json
from ._request_pin import MAX_ANSWER_BYTES, REQUEST_HEADERS, canonical, decode, encoder
from ._verify_pin import (
    PinCheck,
    blanked,
    checked_pin,
    decode_verification,
    encode_verification,
    verification_encoder,
)

__all__ = [
    "MAX_ANSWER_BYTES",
    "REQUEST_HEADERS",
    "REQUEST_PIN",
    "VERIFY_PIN",
    "Operation",
    "PinCheck",
    "UnreadableError",
    "blanked",
    "canonical",
    "checked_pin",
    "decode",
    "decode_verification",
    "encode_verification",
    "encoder",
    "read_json",
]

_Request = TypeVar("_Request", bound=PinRequest | PinCheck)
_Taken = TypeVar("_Taken", bound=Ok | Verified | NotVerified)


@attrs.frozen(eq=False)
class Operation(Generic[_Request, _Taken]):
    """An operation of the gateway's API.

    Args:
        name: Its name for observers.
        path: The path that it posts to, below the API's prefix.
        encoder: Returns the function that makes the bodies of one account's requests.
        decode: Reads an answer.
        repeatable: Whether it may be repeated after its first byte, where the answer allows it.
    """

    name: Literal["request_pin", "verify_pin"]
    path: str
    encoder: Callable[[Secret], Callable[[_Request], SecretBytes]]
    decode: Callable[..., _Taken | ApiError | TransportFailure]
    repeatable: bool


REQUEST_PIN: Final[Operation[PinRequest, Ok]] = Operation(
    "request_pin", "/2fa/request", encoder, decode, repeatable=True
)
VERIFY_PIN: Final[Operation[PinCheck, Verified | NotVerified]] = Operation(
    "verify_pin", "/2fa/verify", verification_encoder, decode_verification, repeatable=False
)
