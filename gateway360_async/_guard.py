"""How much may be spent, and on which numbers: pure policy.

An open sign-up form is an open purse: whoever submits it with numbers of an expensive network, and shares in
what that network earns, is paid by the SMS ("SMS pumping"). What helps is to say where SMS go, and how many.

Rules of this module:

- No I/O, no clock, no asyncio: the caller hands in the time, in seconds as a float on a clock that never goes
  back, so a decision is a function of what was admitted before, and a test of it is instant and exact.
- A window slides: in any stretch of `window` seconds, wherever it begins, at most the ceiling were admitted.
  Counting by the hour would let twice as many through around the full hour. A stretch does not hold its end.
- A refused request counts nowhere. An admitted one counts at once, before it is sent: many are under way at a
  time, and counted at their end they would all pass.
- What is kept is bounded by the ceilings, and by the window: whoever walks through numbers grows nothing.
- No text that is made here holds a whole number.
"""

# The annotations are for users' type checkers; the checks are for everybody else at run time.
# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable
from typing import Any, Final, Literal, TypeAlias

import attrs

from ._errors import InvalidConfiguration
from ._rates import is_finite
from ._repr import repr_of
from ._results import Disposition, FailureKind, PinResult, TransportFailure
from ._secret import mask_msisdn

__all__ = [
    "Admission",
    "GuardAccount",
    "GuardRules",
    "Refusal",
    "RefusalKind",
    "SpendGuard",
    "calling_code",
    "reached_gateway",
]

RefusalKind: TypeAlias = Literal[
    FailureKind.PREFIX_NOT_ALLOWED,
    FailureKind.PREFIX_CEILING,
    FailureKind.CLIENT_CEILING,
    FailureKind.TOTAL_CEILING,
]

# "List of ITU-T Recommendation E.164 assigned country codes", an annex to the ITU's Operational Bulletin: two
# whole zones have a code of one digit, these codes have two, and all others, the spare ones too, have three.
_ONE_DIGIT: Final = frozenset("17")
_SECOND_DIGITS: Final = {
    "2": "07",
    "3": "0123469",
    "4": "013456789",
    "5": "12345678",
    "6": "0123456",
    "8": "1246",
    "9": "0123458",
}
_TWO_DIGITS: Final = frozenset(first + second for first, row in _SECOND_DIGITS.items() for second in row)
_LONGEST: Final = 15  # digits of a number, by the same Recommendation
_SHORTEST: Final = 7  # digits of a number, as `_payloads` reads them

_CEILING_EXPECTED: Final = "a whole number, 0 or more, or None for no ceiling"
_WINDOW_EXPECTED: Final = "a finite number of seconds above 0"
_PREFIXES_EXPECTED: Final = "a collection of calling-code prefixes, such as {'34', '351'}, or None for any"


def calling_code(msisdn: str) -> str:
    """Give the country calling code that a number begins with, of 1 to 3 digits.

    Args:
        msisdn: A number in international format, digits only.
    """
    if msisdn[:1] in _ONE_DIGIT:
        return msisdn[:1]
    return msisdn[:2] if msisdn[:2] in _TWO_DIGITS else msisdn[:3]


def _prefixes(value: Iterable[str] | None) -> frozenset[str] | None:
    if value is None:
        return None
    if isinstance(value, str) or not isinstance(value, Iterable):
        problem = f"is of type {type(value).__name__}"
        raise InvalidConfiguration("allowed_prefixes", problem, _PREFIXES_EXPECTED)
    prefixes = frozenset(_prefix(item) for item in value)
    if not prefixes:
        raise InvalidConfiguration("allowed_prefixes", "is empty, which allows nothing", _PREFIXES_EXPECTED)
    return prefixes


def _prefix(value: str) -> str:
    problem = None
    digits = value.removeprefix("+") if isinstance(value, str) else ""
    if not isinstance(value, str):
        problem = f"holds a {type(value).__name__}"
    elif not (digits.isascii() and digits.isdigit()):
        problem = "holds something other than digits after an optional +"
    elif digits.startswith("0"):
        problem = "holds a prefix that starts with 0, which no country calling code does"
    elif len(digits) > _LONGEST:
        problem = f"holds a prefix of {len(digits)} digits, which is longer than any number"
    if problem is not None:
        raise InvalidConfiguration("allowed_prefixes", problem, _PREFIXES_EXPECTED)
    return digits


def _shown(prefix: str) -> str:
    """Write a prefix for people. One that is long enough to be somebody's number is masked like a number."""
    return f"+{prefix}" if len(prefix) < _SHORTEST else f"+{mask_msisdn(prefix)}"


def _all_shown(prefixes: frozenset[str] | None) -> str:
    return "None" if prefixes is None else f"{{{', '.join(map(_shown, sorted(prefixes)))}}}"


def _check_ceiling(_: object, attribute: attrs.Attribute[int | None], value: int | None) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidConfiguration(attribute.name, f"is of type {type(value).__name__}", _CEILING_EXPECTED)
    if value < 0:
        raise InvalidConfiguration(attribute.name, "is negative", _CEILING_EXPECTED)


def _check_window(_: object, attribute: attrs.Attribute[float], value: float) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise InvalidConfiguration(attribute.name, f"is of type {type(value).__name__}", _WINDOW_EXPECTED)
    if not is_finite(value) or value <= 0:
        raise InvalidConfiguration(attribute.name, f"is {value!r}", _WINDOW_EXPECTED)


def _ceiling() -> Any:
    return attrs.field(default=None, validator=_check_ceiling)


@attrs.frozen(kw_only=True, repr=False)
class SpendGuard:
    """Where requests may go, and how many.

    A call counts once, whatever its retries: by default only the last of them can be an SMS. With
    `RetryPolicy(retry_maybe_sent=True)` each can be one, up to its `max_attempts`. A call that certainly had no
    effect, for want of a connection or by an HTTP 429, does not count.

    Immutable and without state, so one guard can serve many clients.

    Args:
        allowed_prefixes: What a number has to begin with, from its country calling code on: `{"34", "351"}`,
            with or without a leading +. `None`: anything. The code 1 is shared by twenty countries, among
            them expensive ones: name their area codes (`"1876"`) to tell them apart.
        per_prefix: Requests to numbers of one prefix, within `window`, at most; `None`: any number. The
            prefix is the longest of `allowed_prefixes` that the number begins with, and without these its
            country calling code.
        per_client: Requests of the client within `window`, at most; `None`: any number.
        window: Seconds that the two ceilings above are about, wherever they begin.
        total: Requests in the client's lifetime, at most; `None`: any number.

    Raises:
        InvalidConfiguration: A value is out of its range or of another type; `.setting` names it.
    """

    allowed_prefixes: frozenset[str] | None = attrs.field(default=None, converter=_prefixes, repr=_all_shown)
    per_prefix: int | None = _ceiling()
    per_client: int | None = _ceiling()
    window: float = attrs.field(default=3600.0, validator=_check_window)
    total: int | None = _ceiling()

    def __repr__(self) -> str:
        return repr_of(self)

    def open(self) -> GuardAccount:
        """Open an account that has admitted nothing. A client keeps one over all its requests."""
        return GuardAccount(self)


@attrs.define(eq=False)
class Admission:
    """A request that was admitted, for `GuardAccount.give_back`.

    Args:
        prefix: The prefix that it counts for.
        at: When it was admitted, in seconds.
        counted: Whether it still counts: it was not given back.
    """

    prefix: str = attrs.field(repr=_shown)
    at: float
    counted: bool = True


@attrs.frozen
class Refusal:
    """A request that was not admitted, and counts nowhere.

    Args:
        kind: Why, in one word.
        detail: Why, for people.
    """

    kind: RefusalKind = attrs.field(repr=str)
    detail: str


def reached_gateway(result: PinResult) -> bool:
    """Whether the gateway had the request, or may have had it, so that it counts on a guard."""
    # A refusal of the gateway's is a request that it had.
    return not isinstance(result, TransportFailure) or result.disposition is Disposition.MAYBE_SENT


class GuardRules:
    """What a `SpendGuard` says, whoever counts.

    Args:
        guard: The rule.
    """

    __slots__ = ("_lengths", "guard")

    def __init__(self, guard: SpendGuard) -> None:
        self.guard = guard
        # The longest first. Numbers are looked up by so many beginnings, however many prefixes there are.
        self._lengths = sorted({len(prefix) for prefix in guard.allowed_prefixes or ()}, reverse=True)

    def prefix_of(self, msisdn: str) -> str | Refusal:
        """Give the prefix that a number counts for, or say that it may not be sent to."""
        allowed = self.guard.allowed_prefixes
        if allowed is None:
            return calling_code(msisdn)
        for length in self._lengths:
            if msisdn[:length] in allowed:
                return msisdn[:length]
        detail = f"a number of +{calling_code(msisdn)} that begins with none of the allowed prefixes"
        return Refusal(FailureKind.PREFIX_NOT_ALLOWED, detail)

    def refusal(self, kind: RefusalKind, prefix: str) -> Refusal:
        """Say which ceiling is reached."""
        guard = self.guard
        within = f"requests within {guard.window:g} s"
        details = {
            FailureKind.PREFIX_CEILING: f"numbers of {_shown(prefix)} have had their {guard.per_prefix} {within}",
            FailureKind.CLIENT_CEILING: f"the client has had its {guard.per_client} {within}",
            FailureKind.TOTAL_CEILING: f"the client has had its {guard.total} requests",
        }
        return Refusal(kind, details[kind])


class GuardAccount:
    """What one client has spent of a `SpendGuard`.

    Args:
        guard: The rule.
    """

    __slots__ = ("_by_prefix", "_guard", "_recent", "_rules", "_total")

    def __init__(self, guard: SpendGuard) -> None:
        self._guard = guard
        self._rules = GuardRules(guard)
        # The admissions of the last `window` seconds, the oldest first, for all prefixes: so that those of a
        # prefix that nobody asks for any more go as well. Not a dict, whose first key takes ever longer to
        # find while the ones before it are deleted; and not a deque, for any of them may be given back.
        self._recent: OrderedDict[Admission, None] = OrderedDict()
        self._by_prefix: Counter[str] = Counter()
        self._total = 0

    def admit(self, msisdn: str, now: float) -> Admission | Refusal:
        """Count a request, or say why it may not be sent.

        Args:
            msisdn: The number, in international format, digits only.
            now: The time on the caller's clock, in seconds.
        """
        guard = self._guard
        prefix = self._rules.prefix_of(msisdn)
        if isinstance(prefix, Refusal):
            return prefix
        self._forget(now)
        if guard.per_prefix is not None and self._by_prefix[prefix] >= guard.per_prefix:
            return self._rules.refusal(FailureKind.PREFIX_CEILING, prefix)
        if guard.per_client is not None and len(self._recent) >= guard.per_client:
            return self._rules.refusal(FailureKind.CLIENT_CEILING, prefix)
        if guard.total is not None and self._total >= guard.total:
            return self._rules.refusal(FailureKind.TOTAL_CEILING, prefix)
        admission = Admission(prefix, now)
        self._total += 1
        if guard.per_prefix is not None or guard.per_client is not None:
            self._recent[admission] = None
            self._by_prefix[prefix] += 1
        return admission

    def give_back(self, admission: Admission) -> None:
        """Take the count back of a request that certainly never reached the gateway. Again does nothing.

        Args:
            admission: What `admit` of this account gave for it.
        """
        if not admission.counted:
            return
        admission.counted = False
        self._total -= 1
        if admission in self._recent:
            self._drop(admission)

    def _forget(self, now: float) -> None:
        """Drop what the window has left behind."""
        while self._recent:
            oldest = next(iter(self._recent))
            if now - oldest.at < self._guard.window:
                return
            self._drop(oldest)

    def _drop(self, admission: Admission) -> None:
        del self._recent[admission]
        self._by_prefix[admission.prefix] -= 1
        if not self._by_prefix[admission.prefix]:
            del self._by_prefix[admission.prefix]
