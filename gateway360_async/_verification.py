"""Verify PIN: what its answers mean, as far as that is known. PROVISIONAL.

The vendor publishes the request. Of the answer, an integrator's catalogue names the fields (`verified`,
`previouslyVerified`, `triesRemaining`, `message`), which it reads from `result`. The likeliest answer is therefore
`{"status":"ok","result":{"verified":true,"previously_verified":false,"tries_remaining":3,"message":"…"}}`.

Rules of this module:

- Read tolerantly: a field is found by any of its likely names, in any spelling, on any level of the object, and
  `result` may be a list of one.
- No success is guessed: only an answer that says "verified" of itself (at its top, or in a known wrapper), says
  it everywhere alike, and holds nothing that speaks against it (a status that is not `ok`, an error, on any level)
  is one. An answer that does not say clearly whether the PIN is right is `UNREADABLE`; `{"status":"ok"}` alone is
  such an answer.
- An error of the account, and a 429, say nothing of the PIN, whatever else stands beside them.
- The answer is kept as `.raw`, so that what this module does not understand is not lost.
- No I/O and no clock. JSON is read as strictly as any answer's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import permutations, product
from typing import Any, Final, Literal, TypeAlias, TypeVar, cast

import attrs

from ._error_ids import ErrorId
from ._errors import InvalidRequest, wrong_type
from ._results import ApiError, Disposition, FailureKind, Ok, TransportFailure
from ._secret import Secret, SecretBytes
from ._text import ascii_digit, ascii_form, is_dash, is_format, is_space, name_character
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

_MASK: Final = "*****"
_PIN_LENGTHS: Final = range(4, 17)
_PIN_EXPECTED: Final = "the PIN of the SMS: 4 to 16 characters, each 0 to 9 or A to Z"
_LONGEST_COUNT: Final = 64  # digits of a count in an answer


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
`MAYBE_SENT`, it may have been, as with any error id that is not published."""


def checked_pin(pin: object) -> Secret:
    """Read a PIN as a person typed or pasted it, and as the gateway wrote it: a wrong letter costs a try.

    White space, format characters, hyphens and dashes are removed; decimal digits of any script and full-width
    letters become ASCII; letters become capitals. O stays O, and is never 0: a PIN may hold either.

    Raises:
        InvalidRequest: The rest is no PIN. The error names a character that is none, and never the PIN.
    """
    secret, error = _read_pin(pin)
    del pin  # a traceback with local variables does not show it
    if error is not None:
        raise error
    return secret


def _read_pin(typed: object) -> tuple[Secret, InvalidRequest | None]:
    """Give the PIN, and what is wrong with it."""
    pin = ""
    if not isinstance(typed, str):
        return Secret(pin), wrong_type("pin", typed, "the PIN as text")
    problem = None
    for position, ch in enumerate(typed, 1):
        if is_space(ch) or is_format(ch) or is_dash(ch):
            continue
        read = ascii_digit(ch) or ascii_form(ch).upper()
        if len(read) != 1 or not (read.isascii() and read.isalnum()):
            problem = f"holds {name_character(ch, position)}"
            break
        pin += read
    else:
        if len(pin) not in _PIN_LENGTHS:
            problem = f"has {len(pin)} character{'s' * (len(pin) > 1)}" if pin else "is empty"
    return Secret(pin), None if problem is None else InvalidRequest("pin", problem, _PIN_EXPECTED)


def encode_verification(msisdn: str, pin: Secret, api_key: Secret) -> SecretBytes:
    """Make the JSON body. The key and the PIN are in it."""
    return dump({"api_key": api_key.reveal(), "msisdn": msisdn, "pin": pin.reveal()})


# Names without what is not a letter, in lower case: `isVerified`, `is_verified` and `Is-Verified` are one.
_VERIFIED: Final = frozenset({"verified", "isverified", "pinverified", "verificationsuccessful"})
_BEFORE: Final = frozenset(
    {"previouslyverified", "verifiedpreviously", "verifiedbefore", "wasverified"}
).union(f"{verb}alreadyverified" for verb in ("", "is", "was"))
_TRIES: Final = frozenset(
    "".join(words)
    for pair in product(("attempts", "tries"), ("left", "remaining"))
    for words in permutations(pair)
)
_MESSAGE: Final = frozenset({"errormessage", "errormsg", "message", "msg"})
_WRAPPERS: Final = frozenset({"data", "response", "result", "verification"})
_AGAINST: Final = frozenset({"error", "errorid", "errors", "errorcode"})
_SECRET: Final = frozenset({"apikey", "msisdn", "pin", "pincode"})
_FOR: Final = frozenset({"success", "successful", "ok"})
_NOT_A_LETTER: Final = re.compile(r"[^a-z]")
_WORDS: Final[Mapping[object, bool]] = {"true": True, "false": False, "1": True, "0": False}


def _objects(value: object) -> Iterator[Mapping[str, Any]]:
    """Every object in a document, on any level. The depth is bounded where the JSON was read."""
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        yield fields
        for inner in fields.values():
            yield from _objects(inner)
    elif isinstance(value, list):
        for inner in cast("list[object]", value):
            yield from _objects(inner)


def _letters(name: str) -> str:
    return _NOT_A_LETTER.sub("", name.lower())


def _found(document: Mapping[str, Any], names: frozenset[str]) -> Iterator[Any]:
    for fields in _objects(document):
        for name, value in fields.items():
            if _letters(name) in names:
                yield value


def _is_affirmed(document: Mapping[str, Any]) -> bool:
    """Whether the answer says "verified" where it speaks of itself, and nothing in it speaks against that."""
    own = [document]
    own += filter(None, map(_wrapped, document, document.values()))
    said = [value for fields in own for name, value in fields.items() if _letters(name) in _VERIFIED]
    return bool(said) and not any(
        (_letters(name) == "status" and value != "ok")
        or (_letters(name) in _AGAINST and value)
        or (_letters(name) in _FOR and _as_flag(value) is not True)
        for fields in _objects(document)
        for name, value in fields.items()
    )


def _wrapped(name: str, value: object) -> dict[str, Any] | None:
    """Give the object in a wrapper; `result` may be a list of one, as other answers of this vendor have it."""
    if isinstance(value, list) and _letters(name) == "result":
        items = cast("list[object]", value)
        value = items[0] if len(items) == 1 else None
    return cast("dict[str, Any]", value) if isinstance(value, dict) and _letters(name) in _WRAPPERS else None


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
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < _LONGEST_COUNT:
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
    result = decode(http_status, headers, body, attempts=attempts, elapsed=elapsed, retry_after=retry_after)
    published = isinstance(result, ApiError) and isinstance(result.error_id, ErrorId)
    if not isinstance(result, Ok) and (fields is None or http_status == 429 or published):
        return attrs.evolve(result, raw=fields)
    fields = fields or {}  # what `decode` takes for an `Ok` is an object
    verified = _flag(fields, _VERIFIED)
    before, message = _flag(fields, _BEFORE), _text(fields, _MESSAGE)
    if verified is False and 200 <= http_status < 500:
        return NotVerified(
            tries_remaining=_count(fields, _TRIES),
            verified_before=before,
            message=message,
            raw=fields,
            attempts=attempts,
            elapsed=elapsed,
        )
    if verified and 200 <= http_status < 300 and _is_affirmed(fields):
        return Verified(
            verified_before=before, message=message, raw=fields, attempts=attempts, elapsed=elapsed
        )
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
        secret_values: What they are as numbers, where they are.
    """
    changes: dict[str, Any] = {}
    if isinstance(result, ApiError):
        changes["error_msg"] = None if result.error_msg is None else blank(result.error_msg)
        # A published id is none of what was sent, whatever letters they share.
        if not isinstance(result.error_id, ErrorId):
            changes["error_id"] = blank(result.error_id)
    elif isinstance(result, (Verified, NotVerified)) and result.message is not None:
        changes["message"] = blank(result.message)
    if not isinstance(result, Ok) and result.raw is not None:
        changes["raw"] = _blanked(result.raw, blank, secret_values)
    return attrs.evolve(result, **changes) if changes else result


def _blanked(value: object, blank: Callable[[str], str], secret_values: frozenset[int]) -> Any:
    if isinstance(value, str):
        return blank(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        # 34666666111.0 equals 34666666111, and a PIN that begins with 0 has lost it.
        return _MASK if value in secret_values or blank(str(value)) != str(value) else value
    if isinstance(value, list):
        return [_blanked(item, blank, secret_values) for item in cast("list[object]", value)]
    if isinstance(value, dict):
        pairs = cast("dict[str, Any]", value).items()
        return {
            blank(name): _MASK if _letters(name) in _SECRET else _blanked(item, blank, secret_values)
            for name, item in pairs
        }
    return value
