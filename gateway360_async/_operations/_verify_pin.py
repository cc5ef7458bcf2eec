"""Verify PIN: what its answers mean, as far as that is known. PROVISIONAL.

The vendor publishes the request. Of the answer, an integrator's catalogue names the fields (`verified`,
`previouslyVerified`, `triesRemaining`, `message`), which it reads from `result`. The likeliest answer is therefore
`{"status":"ok","result":{"verified":true,"previously_verified":false,"tries_remaining":3,"message":"…"}}`.

Invariants:

- Read tolerantly: a field is found by any of its likely names, in any spelling, on any level of the object, and
  `result` may be a list of one.
- No success is guessed: an answer verifies that says "verified" of itself (at its top, or in a known wrapper), says it
  everywhere alike, and holds nothing that speaks against it, on any level. An answer that does not say clearly whether
  the PIN is right is `UNREADABLE`, as `{"status":"ok"}` alone.
- An error of the account, and a 429, say nothing of the PIN, whatever else stands beside them.
- The answer is kept as `.raw`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Final, Literal, TypeAlias, TypeVar, cast

import attrs

from .._exceptions import InvalidRequest, without_arguments, wrong_type
from .._numbers._characters import ascii_digit, ascii_form, is_dash, is_format, is_space, name_character
from .._redaction import MASK, Secret, SecretBytes, mask_msisdn
from .._results import (
    ApiError,
    Disposition,
    ErrorId,
    FailureKind,
    Ok,
    TransportFailure,
)
from ._request_pin import decode, dump, read_fields, storable


@attrs.frozen(kw_only=True)
class _Judged:
    label: ClassVar[str]
    """The outcome for metrics and traces."""

    verified_before: bool | None = None
    message: str | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict[str, Any], repr=False, eq=False)
    attempts: int = 1
    elapsed: float = 0.0

    @property
    def disposition(self) -> Literal[Disposition.SENT]:
        """Always `SENT`: the gateway has judged the PIN."""
        return Disposition.SENT


@attrs.frozen(kw_only=True)
class Verified(_Judged):
    """The PIN is right: it is the number's last one, and neither expired nor used up. Provisional.

    Args:
        verified_before: Whether it had been verified before this; `None` if the answer does not say.
        message: The gateway's text, for debugging only.
        raw: The answer's JSON object, with secrets blanked out. It does not count in comparisons.
        attempts: Attempts that were made.
        elapsed: Seconds from the call to its result.
    """

    label: ClassVar = "verified"

    def __str__(self) -> str:
        before = ", as it was before" if self.verified_before else ""
        return f"verified{before} ({self.elapsed:.3f} s)"


@attrs.frozen(kw_only=True)
class NotVerified(_Judged):
    """The PIN is wrong, or not valid any more. The gateway has counted this try. Provisional.

    Args:
        tries_remaining: Tries until the PIN is void for good; `None` if the answer does not say.

    The other fields are those of `Verified`.
    """

    label: ClassVar = "not_verified"

    tries_remaining: int | None = None

    def __str__(self) -> str:
        left = "" if self.tries_remaining is None else f", tries remaining: {self.tries_remaining}"
        return f"not verified{left} ({self.elapsed:.3f} s)"


VerifyResult: TypeAlias = Verified | NotVerified | ApiError | TransportFailure
"""The result of `verify_pin`. In the last two, `.disposition` is about the try: `NOT_SENT`, it was not counted;
`MAYBE_SENT`, it may have been, as with any error id that is not published."""

_PIN_EXPECTED: Final = "the PIN of the SMS: 4 to 16 characters, each 0 to 9 or A to Z"
_LONGEST_COUNT: Final = 64  # digits of a count in an answer


@without_arguments
def checked_pin(pin: object) -> Secret:
    """Read a PIN as a person typed or pasted it, and as the gateway wrote it: a wrong letter costs a try.

    White space, format characters, hyphens and dashes are removed; decimal digits of any script and full-width
    letters become ASCII; letters become capitals. O stays O, and is never 0: a PIN may hold either.

    Raises:
        InvalidRequest: The rest is no PIN. The error names a character that is none, and never the PIN.
    """
    if not isinstance(pin, str):
        raise wrong_type("pin", pin, "the PIN as text")
    read = ""
    for position, ch in enumerate(pin, 1):
        if is_space(ch) or is_format(ch) or is_dash(ch):
            continue
        char = ascii_digit(ch) or ascii_form(ch).upper()
        if len(char) != 1 or not (char.isascii() and char.isalnum()):
            raise InvalidRequest("pin", f"holds {name_character(ch, position)}", _PIN_EXPECTED)
        read += char
    if not 4 <= len(read) <= 16:
        problem = f"has {len(read)} character{'s' * (len(read) > 1)}" if read else "is empty"
        raise InvalidRequest("pin", problem, _PIN_EXPECTED)
    return Secret(read)


@attrs.frozen
class PinCheck:
    """A request to verify a PIN."""

    msisdn: str = attrs.field(repr=mask_msisdn)
    pin: Secret


def verification_encoder(api_key: Secret) -> Callable[[PinCheck], SecretBytes]:
    """Return the function that makes JSON bodies. The key and the PIN are in them."""

    def encode(check: PinCheck) -> SecretBytes:
        return dump({"api_key": api_key.reveal(), "msisdn": check.msisdn, "pin": check.pin.reveal()})

    return encode


# Names without what is not a letter, in lower case: `isVerified`, `is_verified` and `Is-Verified` are one.
_VERIFIED: Final = frozenset({"verified", "isverified", "pinverified", "verificationsuccessful"})
_BEFORE: Final = frozenset(
    {"previouslyverified", "verifiedpreviously", "verifiedbefore", "wasverified"}
    | {"alreadyverified", "isalreadyverified", "wasalreadyverified"}
)
_TRIES: Final = frozenset(
    name
    for one in ("attempts", "tries")
    for other in ("left", "remaining")
    for name in (one + other, other + one)
)
_MESSAGE: Final = frozenset({"errormessage", "errormsg", "message", "msg"})
_WRAPPERS: Final = frozenset({"data", "response", "result", "verification"})
_AGAINST: Final = frozenset({"error", "errorid", "errors", "errorcode"})
_SECRET: Final = frozenset({"apikey", "msisdn", "pin", "pincode"})
_FOR: Final = frozenset({"success", "successful", "ok"})
_NOT_A_LETTER: Final = re.compile(r"[^a-z]")
_WORDS: Final[Mapping[object, bool]] = {"true": True, "false": False, "1": True, "0": False}


def _pairs(value: object) -> Iterator[tuple[str, Any]]:
    """Yield each field in a document, on any level. The depth is bounded where the JSON was read."""
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        yield from ((_letters(name), inner) for name, inner in fields.items())
        for inner in fields.values():
            yield from _pairs(inner)
    elif isinstance(value, list):
        for inner in cast("list[object]", value):
            yield from _pairs(inner)


def _letters(name: str) -> str:
    return _NOT_A_LETTER.sub("", name.lower())


_Read = TypeVar("_Read")


def _agreed(
    document: Mapping[str, Any], names: frozenset[str], read: Callable[[object], _Read | None]
) -> _Read | None:
    """Return what a field says wherever it stands; `None` where it is not said, or not clearly."""
    said = {read(value) for name, value in _pairs(document) if name in names}
    return said.pop() if len(said) == 1 else None


def _as_flag(value: object) -> bool | None:
    # A text or a number, as languages without booleans write it; and 1.0 is no flag.
    return _WORDS.get(str(value).lower()) if isinstance(value, (str, int)) else None


def _as_count(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < _LONGEST_COUNT:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _is_affirmed(document: Mapping[str, Any]) -> bool:
    """Whether the answer says "verified" of itself, and nothing in it speaks against that."""
    own = [document, *filter(None, map(_wrapped, document, document.values()))]
    return any(_letters(name) in _VERIFIED for fields in own for name in fields) and not any(
        (name == "status" and value != "ok")
        or (name in _AGAINST and value)
        or (name in _FOR and _as_flag(value) is not True)
        for name, value in _pairs(document)
    )


def _wrapped(name: str, value: object) -> dict[str, Any] | None:
    """Return the object in a wrapper; `result` may be a list of one, as other answers of this vendor have it."""
    if isinstance(value, list) and _letters(name) == "result":
        items = cast("list[object]", value)
        value = items[0] if len(items) == 1 else None
    return cast("dict[str, Any]", value) if isinstance(value, dict) and _letters(name) in _WRAPPERS else None


def decode_verification(
    http_status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    attempts: int = 1,
    elapsed: float = 0.0,
    retry_after: float | None = None,
) -> VerifyResult:
    """Read an HTTP answer. The arguments are those of `decode`."""
    fields = read_fields(headers, body)
    result = decode(http_status, headers, body, attempts=attempts, elapsed=elapsed, retry_after=retry_after)
    published = isinstance(result, ApiError) and isinstance(result.error_id, ErrorId)
    if not isinstance(result, Ok) and (fields is None or http_status == 429 or published):
        return attrs.evolve(result, raw=fields)
    fields = fields or {}  # what `decode` takes for an `Ok` is an object
    verified = _agreed(fields, _VERIFIED, _as_flag)
    messages = (value for name, value in _pairs(fields) if name in _MESSAGE and isinstance(value, str))
    said: dict[str, Any] = {
        "verified_before": _agreed(fields, _BEFORE, _as_flag),
        "message": storable(next(messages, None)),
        "raw": fields,
        "attempts": attempts,
        "elapsed": elapsed,
    }
    if verified is False and 200 <= http_status < 500:
        return NotVerified(tries_remaining=_agreed(fields, _TRIES, _as_count), **said)
    if verified and 200 <= http_status < 300 and _is_affirmed(fields):
        return Verified(**said)
    if isinstance(result, ApiError) and not verified:
        return attrs.evolve(result, raw=fields)
    # JSON, whatever its status, may be the gateway's word about a try that it has counted.
    return TransportFailure(
        FailureKind.UNREADABLE,
        Disposition.MAYBE_SENT,
        http_status,
        f"HTTP {http_status}: the answer does not say clearly whether the PIN is right; see .raw",
        attempts,
        elapsed,
        retry_after=retry_after,
        raw=fields,
    )


_Result = TypeVar("_Result", bound=Ok | Verified | NotVerified | ApiError | TransportFailure)


def blanked(
    result: _Result, blank: Callable[[str], str], secret_values: frozenset[int] = frozenset()
) -> _Result:
    """Blank secrets out of all that a result holds of an answer: the gateway may quote what it was sent.

    Args:
        result: The result.
        blank: Blanks them out of a text.
        secret_values: The secrets that are numbers.
    """
    changes: dict[str, Any] = {}
    for name in ("error_id", "error_msg", "message"):
        said = getattr(result, name, None)
        # A published id is none of what was sent, whatever letters they share.
        if said is not None and not isinstance(said, ErrorId):
            changes[name] = blank(said)
    if (raw := getattr(result, "raw", None)) is not None:
        changes["raw"] = _blanked(raw, blank, secret_values)
    return attrs.evolve(result, **changes) if changes else result


def _blanked(value: object, blank: Callable[[str], str], secret_values: frozenset[int]) -> Any:
    if isinstance(value, str):
        return blank(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        # 34666666111.0 equals 34666666111, and a PIN that begins with 0 has lost it.
        return MASK if value in secret_values or blank(str(value)) != str(value) else value
    if isinstance(value, list):
        return [_blanked(item, blank, secret_values) for item in cast("list[object]", value)]
    if isinstance(value, dict):
        return {
            blank(name): MASK if _letters(name) in _SECRET else _blanked(item, blank, secret_values)
            for name, item in cast("dict[str, Any]", value).items()
        }
    return value
