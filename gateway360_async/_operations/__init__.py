"""The operations of the gateway's API: what each one sends, and how its answer is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Generic, Literal, Protocol, TypeAlias, TypeVar

import attrs

from .._models import PinRequest
from .._redaction import Secret, SecretBytes
from .._results import PinResult
from ._json import UnreadableError, read_json
from ._request_pin import MAX_ANSWER_BYTES, REQUEST_HEADERS, canonical, decode, encoder
from ._verify_pin import (
    NotVerified,
    PinCheck,
    Verified,
    VerifyResult,
    blanked,
    checked_pin,
    decode_verification,
    verification_encoder,
)

__all__ = [
    "MAX_ANSWER_BYTES",
    "OPERATIONS",
    "REQUEST_HEADERS",
    "REQUEST_PIN",
    "VERIFY_PIN",
    "AnyResult",
    "Endpoint",
    "NotVerified",
    "Operation",
    "OperationName",
    "Payload",
    "PinCheck",
    "UnreadableError",
    "Verified",
    "VerifyResult",
    "blanked",
    "canonical",
    "checked_pin",
    "decode",
    "decode_verification",
    "encoder",
    "read_json",
]


class Payload(Protocol):
    """The payload of an operation, whatever else it holds."""

    @property
    def msisdn(self) -> str:
        """The number that the request is about."""
        ...


_Request = TypeVar("_Request", bound=Payload)

AnyResult: TypeAlias = PinResult | VerifyResult
"""The result of any operation."""

OperationName: TypeAlias = Literal["request_pin", "verify_pin"]
"""The name of an operation for observers."""


def _no_secrets(_: object) -> tuple[Secret, ...]:
    return ()


@attrs.frozen(eq=False)
class Operation(Generic[_Request]):
    """An operation of the gateway's API.

    Args:
        name: Its name for observers.
        path: The path that it posts to, below the API's prefix.
        encoder: Returns the function that makes the bodies of one account's requests.
        decode: Reads an answer.
        repeatable: Whether it may be repeated after its first byte, where the answer allows it.
        sends_sms: Whether it sends an SMS, so that the cooldown, the guard and the store admit it.
        secrets: Returns the texts of a request, besides the key, that no result shows.
    """

    name: OperationName
    path: str
    encoder: Callable[[Secret], Callable[[_Request], SecretBytes]]
    decode: Callable[..., AnyResult]
    repeatable: bool
    sends_sms: bool
    secrets: Callable[[_Request], tuple[Secret, ...]] = _no_secrets

    def at(self, url: str, api_key: Secret) -> Endpoint:
        """Return the operation as one client uses it."""
        return Endpoint(self, url, self.encoder(api_key))


@attrs.frozen(eq=False)
class Endpoint:
    """An operation as one client uses it.

    Args:
        operation: The operation.
        url: The absolute URL that it posts to.
        encode: Makes the body of a request.
    """

    operation: Operation[Any]
    url: str
    encode: Callable[[Any], SecretBytes]


REQUEST_PIN: Final = Operation[PinRequest](
    "request_pin", "/2fa/request", encoder, decode, repeatable=True, sends_sms=True
)
VERIFY_PIN: Final = Operation[PinCheck](
    "verify_pin",
    "/2fa/verify",
    verification_encoder,
    decode_verification,
    repeatable=False,
    sends_sms=False,
    secrets=lambda check: (check.pin,),
)
OPERATIONS: Final[tuple[Operation[Any], ...]] = (REQUEST_PIN, VERIFY_PIN)
"""The one table: a client has an endpoint of each."""
