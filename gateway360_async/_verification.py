"""Verify PIN: what its answers mean, as far as that is known. PROVISIONAL.

The vendor publishes the request. Of the answer, an integrator's catalogue names the fields (whether the PIN is
verified, whether it was verified before, the tries that remain, a message), and neither their spelling nor their
nesting.

Rules of this module:

- Read tolerantly: a field is found by any of its likely names, in any spelling, on any level of the object.
- Nothing is guessed: an answer that does not say whether the PIN is right, or says it twice and not alike, is
  `UNREADABLE`, and never a success. `{"status":"ok"}` alone is such an answer.
- The answer is kept as `.raw`, so that what this module does not understand is not lost.
- No I/O and no clock. JSON is read as strictly as any answer's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Literal, TypeAlias, TypeVar, cast

import attrs

from ._errors import InvalidRequest
from ._results import ApiError, Disposition, FailureKind, Ok, TransportFailure
from ._secret import Secret, SecretBytes
from ._wire import decode, dump, read_fields

__all__ = [
    "VERIFY_PATH",
    "NotVerified",
    "Verified",
    "VerifyResult",
    "blanked",
    "checked_pin",
    "decode_verification",
    "encode_verification",
]

VERIFY_PATH: Final = "/2fa/verify"
"""The path of Verify PIN below the API's prefix."""

_MAX_PIN: Final = 64
"""Characters that are passed on. A PIN has 4 to 16; what a person typed is the gateway's to judge, within reason."""


@attrs.frozen(kw_only=True)
class Verified:
    """The PIN is right: it is the number's last one, and neither expired nor used up. Provisional.

    Args:
        verified_before: Whether it had been verified before this; `None` if the answer does not say.
        message: The gateway's text, for debugging only.
        raw: The answer's JSON object, with the key, the PIN and the number blanked out. It does not count in
            comparisons.
        attempts: Attempts that were made.
        elapsed: Seconds from the call to its result.
    """

    verified_before: bool | None = None
    message: str | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict[str, Any], repr=False, eq=False)
    attempts: int = 1
    elapsed: float = 0.0

    @property
    def disposition(self) -> Literal[Disposition.SENT]:
        """Always `SENT`: the gateway has judged the PIN."""
        return Disposition.SENT

    def __str__(self) -> str:
        before = ", as it was before" if self.verified_before else ""
        return f"verified{before} ({self.elapsed:.3f} s)"


@attrs.frozen(kw_only=True)
class NotVerified:
    """The PIN is wrong, or not valid any more. The gateway has counted this try. Provisional.

    Args:
        tries_remaining: Tries until the PIN is void for good; `None` if the answer does not say.
        verified_before: Whether the PIN had been verified before; `None` if the answer does not say.
        message: The gateway's text, for debugging only.
        raw: The answer's JSON object, with the key, the PIN and the number blanked out. It does not count in
            comparisons.
        attempts: Attempts that were made.
        elapsed: Seconds from the call to its result.
    """

    tries_remaining: int | None = None
    verified_before: bool | None = None
    message: str | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict[str, Any], repr=False, eq=False)
    attempts: int = 1
    elapsed: float = 0.0

    @property
    def disposition(self) -> Literal[Disposition.SENT]:
        """Always `SENT`: the gateway has judged the PIN."""
        return Disposition.SENT

    def __str__(self) -> str:
        left = "" if self.tries_remaining is None else f", tries remaining: {self.tries_remaining}"
        return f"not verified{left} ({self.elapsed:.3f} s)"


VerifyResult: TypeAlias = Verified | NotVerified | ApiError | TransportFailure
"""What `verify_pin` gives. In the last two, `.disposition` is about the try: `NOT_SENT`, it was not counted;
`MAYBE_SENT`, it may have been."""


def checked_pin(pin: object) -> Secret:
    """Wrap a PIN as it was typed.

    Raises:
        InvalidRequest: It is no text that could be a PIN.
    """
    problem = None
    if not isinstance(pin, str):
        problem = f"is of type {type(pin).__name__}"
    elif not pin.strip():
        problem = "is empty"
    elif len(pin) > _MAX_PIN:
        problem = f"has more than {_MAX_PIN} characters"
    elif not pin.isprintable():  # also refuses lone surrogates, which cannot go on the wire
        problem = "holds a character that cannot be printed"
    else:
        return Secret(pin)
    del pin  # a traceback with local variables does not show it
    raise InvalidRequest("pin", problem, "the PIN as the person typed it, a text")


def encode_verification(msisdn: str, pin: Secret, api_key: Secret) -> SecretBytes:
    """Make the JSON body. The key and the PIN are in it."""
    return dump({"api_key": api_key.reveal(), "msisdn": msisdn, "pin": pin.reveal()})


# Names without what is not a letter, in lower case: `isVerified`, `is_verified` and `Is-Verified` are one.
_VERIFIED: Final = frozenset({"verified", "isverified", "pinverified", "verificationsuccessful"})
_BEFORE: Final = frozenset(
    {
        "alreadyverified",
        "isalreadyverified",
        "previouslyverified",
        "verifiedbefore",
        "verifiedpreviously",
        "wasverified",
        "wasalreadyverified",
    }
)
_TRIES: Final = frozenset(
    {
        "attemptsleft",
        "attemptsremaining",
        "leftattempts",
        "lefttries",
        "remainingattempts",
        "remainingtries",
        "triesleft",
        "triesremaining",
    }
)
_MESSAGE: Final = frozenset({"errormessage", "errormsg", "message", "msg"})
_NOT_A_LETTER: Final = re.compile(r"[^a-z]")
_WORDS: Final[Mapping[object, bool]] = {"true": True, "false": False, "1": True, "0": False}


def _found(fields: Mapping[str, Any], names: frozenset[str]) -> Iterator[Any]:
    """Every value under one of these names, on any level. The depth is bounded where the JSON was read."""
    for name, value in fields.items():
        if _NOT_A_LETTER.sub("", name.lower()) in names:
            yield value
        for inner in cast("list[object]", value) if isinstance(value, list) else (value,):
            if isinstance(inner, dict):
                yield from _found(cast("dict[str, Any]", inner), names)


def _flag(fields: Mapping[str, Any], names: frozenset[str]) -> bool | None:
    """A field that is true or false; `None` where it is not said, or not clearly."""
    said = {_as_flag(value) for value in _found(fields, names)}
    return said.pop() if len(said) == 1 else None


def _as_flag(value: object) -> bool | None:
    if isinstance(value, bool):
        return value
    # A text or a number, as languages without booleans write it; and 1.0 is no flag.
    return _WORDS.get(str(value).lower()) if isinstance(value, (str, int)) else None


def _count(fields: Mapping[str, Any], names: frozenset[str]) -> int | None:
    said = {_as_count(value) for value in _found(fields, names)}
    return said.pop() if len(said) == 1 else None


def _as_count(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < _MAX_PIN:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _text(fields: Mapping[str, Any], names: frozenset[str]) -> str | None:
    said = next((value for value in _found(fields, names) if isinstance(value, str)), None)
    # A lone surrogate (an escape such as \\ud800) would break whatever prints or stores the text.
    return None if said is None else said.encode("utf-8", "replace").decode()


def decode_verification(
    http_status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    attempts: int = 1,
    elapsed: float = 0.0,
    retry_after: float | None = None,
) -> VerifyResult:
    """Read an HTTP answer. The arguments are those of `decode`.

    Returns:
        `Verified` or `NotVerified` where the answer says which, an `ApiError` where it is an error envelope that
        does not, otherwise a `TransportFailure`. Never raises.
    """
    fields = read_fields(headers, body)
    verified = None if fields is None else _flag(fields, _VERIFIED)
    if fields is not None and verified is not None and 200 <= http_status < 500:
        before, message = _flag(fields, _BEFORE), _text(fields, _MESSAGE)
        if not verified:
            return NotVerified(
                tries_remaining=_count(fields, _TRIES),
                verified_before=before,
                message=message,
                raw=fields,
                attempts=attempts,
                elapsed=elapsed,
            )
        if http_status < 300 and fields.get("status") != "error" and not fields.get("error_id"):
            return Verified(
                verified_before=before, message=message, raw=fields, attempts=attempts, elapsed=elapsed
            )
    result = decode(http_status, headers, body, attempts=attempts, elapsed=elapsed, retry_after=retry_after)
    if not isinstance(result, Ok):
        if fields is None:
            return result
        if http_status == 429 or (isinstance(result, ApiError) and not verified):
            return attrs.evolve(result, raw=fields)
    # JSON, whatever its status, may be the gateway's word about a try that it has counted.
    return TransportFailure(
        FailureKind.UNREADABLE,
        Disposition.MAYBE_SENT,
        http_status,
        f"HTTP {http_status}: the answer does not say clearly whether the PIN is right; see .raw",
        attempts,
        elapsed,
        raw=fields,
    )


_Result = TypeVar("_Result", bound=Ok | Verified | NotVerified | ApiError | TransportFailure)


def blanked(result: _Result, blank: Callable[[str], str]) -> _Result:
    """Blank secrets out of all that a result holds of an answer: the gateway may quote what it was sent."""
    changes: dict[str, Any] = {}
    if isinstance(result, ApiError):
        said = None if result.error_msg is None else blank(result.error_msg)
        changes = {"error_id": blank(result.error_id), "error_msg": said}
    elif isinstance(result, (Verified, NotVerified)) and result.message is not None:
        changes = {"message": blank(result.message)}
    if not isinstance(result, Ok) and result.raw is not None:
        changes["raw"] = _blanked(result.raw, blank)
    return attrs.evolve(result, **changes) if changes else result


def _blanked(value: object, blank: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return blank(value)
    if isinstance(value, int) and not isinstance(value, bool):  # a PIN, or a number, may come as one
        said = str(value)
        return value if blank(said) == said else blank(said)
    if isinstance(value, list):
        return [_blanked(item, blank) for item in cast("list[object]", value)]
    if isinstance(value, dict):
        pairs = cast("dict[str, Any]", value).items()
        return {blank(name): _blanked(item, blank) for name, item in pairs}
    return value
