"""The operations of the gateway's API: what each one sends, and how its answer is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, Literal, TypeVar

import attrs

from ._payloads import PinRequest
from ._results import ApiError, NotVerified, Ok, TransportFailure, Verified
from ._secret import Secret, SecretBytes
from ._verification import VERIFY_PATH, PinCheck, decode_verification, verification_encoder
from ._wire import REQUEST_PATH, decode, encoder

__all__ = ["REQUEST_PIN", "VERIFY_PIN", "Operation"]

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
    "request_pin", REQUEST_PATH, encoder, decode, repeatable=True
)
VERIFY_PIN: Final[Operation[PinCheck, Verified | NotVerified]] = Operation(
    "verify_pin", VERIFY_PATH, verification_encoder, decode_verification, repeatable=False
)
