"""What is written of a request and of a result: pure.

Rules of this module:

- A fingerprint is a keyed hash (BLAKE2b, RFC 7693) of the request as it goes on the wire, without the key. The
  key of the hash is made of the account's key and of the file's salt: who has the file cannot try numbers.
- A result is written as JSON through cattrs. The texts in it hold no number: the client masks what is quoted.
- An entry is settled when sending it again could only send a second SMS or be refused again. What was not
  sent for a reason that passes (no connection, no balance, a halted batch) is open, as if never begun.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from typing import Any, Final, cast

from cattrs import Converter
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override
from cattrs.strategies import configure_tagged_union

from ._error_ids import ErrorId, ErrorScope, known_error_id
from ._payloads import PinRequest
from ._results import ApiError, Disposition, Ok, PinResult, TransportFailure
from ._secret import Secret
from ._wire import canonical

__all__ = ["Hasher", "is_settled", "read_result", "write_result"]

_DIGEST_BYTES: Final = 16


class Hasher:
    """Makes the fingerprints of one file, or of one fleet.

    Args:
        api_key: The account's key.
        salt: The file's own random bytes, or the fleet's own name.
    """

    def __init__(self, api_key: Secret, salt: bytes) -> None:
        self._key = hashlib.blake2b(salt, key=hashlib.sha256(api_key.reveal().encode()).digest()).digest()

    def __repr__(self) -> str:
        return "<Hasher>"

    def of_request(self, request: PinRequest) -> bytes:
        """The fingerprint of a whole request."""
        return self._digest(b"request", canonical(request))

    def of_number(self, msisdn: str) -> str:
        """The fingerprint of a number, in hexadecimal digits."""
        return self._digest(b"number", msisdn.encode()).hex()

    def of_scope(self, url: str) -> bytes:
        """The fingerprint of where a batch posts to, and with which key."""
        return self._digest(b"scope", url.encode())

    def of_entry(self, batch: str, request: PinRequest) -> bytes:
        """The fingerprint of a whole request within a batch."""
        return self._digest(b"entry", batch.encode() + b"\0" + canonical(request))

    def of_name(self, what: str, value: str) -> bytes:
        """The fingerprint of a value of some kind."""
        return self._digest(b"name", f"{what}\0{value}".encode())

    def _digest(self, what: bytes, value: bytes) -> bytes:
        return hashlib.blake2b(value, digest_size=_DIGEST_BYTES, key=self._key, person=what).digest()


@cache
def _converter(*, whole: bool) -> Converter:
    converter = Converter(omit_if_default=not whole)
    converter.register_structure_hook(ErrorId | str, lambda value, _: known_error_id(value))
    converter.register_unstructure_hook(
        TransportFailure,
        make_dict_unstructure_fn(
            TransportFailure, converter, _cattrs_omit_if_default=not whole, cause=override(omit=True)
        ),
    )
    converter.register_structure_hook(
        TransportFailure, make_dict_structure_fn(TransportFailure, converter, cause=override(omit=True))
    )
    configure_tagged_union(PinResult, converter, tag_name="result")
    return converter


def write_result(result: PinResult, *, whole: bool = False) -> str:
    """Make the JSON of a result. Its texts have no number in them: the client has masked what was quoted.

    Args:
        result: The result.
        whole: Whether to write the fields too that have their defaults. Without them an `Ok` is so short that Redis
            keeps the record that it is in as one piece, in half the memory.
    """
    document: dict[str, Any] = _converter(whole=whole).unstructure(result, unstructure_as=PinResult)
    return json.dumps(document, separators=(",", ":"))


def read_result(text: str) -> PinResult:
    """Read what `write_result` wrote. Raises `ValueError`, or an error of cattrs, for anything else."""
    # Typed for classes only, cattrs' `structure` takes a union all the same.
    result: object = cast("Any", _converter(whole=True).structure)(json.loads(text), PinResult)
    return cast("PinResult", result)


def is_settled(result: PinResult) -> bool:
    """Whether there is nothing more to do about an entry, but for what the caller decides on `MAYBE_SENT`."""
    if isinstance(result, Ok) or result.disposition is Disposition.MAYBE_SENT:
        return True
    # A published refusal for what the request is, or for its number, would only be repeated.
    return (
        isinstance(result, ApiError)
        and isinstance(result.error_id, ErrorId)
        and result.scope in (ErrorScope.REQUEST, ErrorScope.NUMBER)
    )
