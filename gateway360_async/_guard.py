"""How much may be spent, and on which numbers: pure policy.

An open sign-up form is an open purse: whoever submits it with numbers of an expensive network, and shares in
what that network earns, is paid by the SMS ("SMS pumping"). What helps is to say where SMS go, and how many.

Rules of this module:

- No I/O, no clock, no asyncio: the caller hands in the time, in seconds as a float on a clock that never goes
  back, so a decision is a function of what was admitted before, and a test of it is instant and exact.
- A window slides: in any stretch of `window` seconds, wherever it begins, at most the limit were admitted.
  Counting by the hour would let twice as many through around the full hour. A stretch does not hold its end.
- A refused request counts nowhere. An admitted one counts at once, before it is sent: many are under way at a
  time, and counted at their end they would all pass. What it turns out not to have been is given back.
- A limit of SMS and a limit of attempts count apart: numbers that do not exist use up no SMS.
- What is kept is bounded by the limits, and by the window; a limit of each number keeps the window's numbers.
- No text that is made here holds a whole number.
"""

# The annotations are for users' type checkers; the checks are for everybody else at run time.
# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Literal, TypeAlias

import attrs

from ._errors import InvalidConfiguration
from ._limits import Limit
from ._numbers import calling_code, region_of, region_problem
from ._rates import is_finite
from ._repr import repr_of
from ._results import Disposition, FailureKind, PinResult, TransportFailure
from ._secret import mask_msisdn

__all__ = [
    "Admission",
    "GuardAccount",
    "GuardLimit",
    "GuardRules",
    "Refusal",
    "RefusalKind",
    "SpendGuard",
    "may_be_an_sms",
    "reached_gateway",
]

RefusalKind: TypeAlias = Literal[
    FailureKind.PREFIX_NOT_ALLOWED,
    FailureKind.REGION_NOT_ALLOWED,
    FailureKind.ATTEMPT_LIMIT,
    FailureKind.NUMBER_LIMIT,
    FailureKind.PREFIX_LIMIT,
    FailureKind.CLIENT_LIMIT,
    FailureKind.TOTAL_LIMIT,
]

_LONGEST: Final = 15  # digits of a number, by the same Recommendation
_SHORTEST: Final = 7  # digits of a number, as `_payloads` reads them

_LIMIT_EXPECTED: Final = "a whole number, 0 or more, or None for no limit"
_WINDOW_EXPECTED: Final = "a finite number of seconds above 0"
_REGIONS_EXPECTED: Final = (
    "a collection of ISO 3166 codes of two letters, such as {'ES', 'PT'}, or None for any"
)
_PREFIXES_EXPECTED: Final = "a collection of calling-code prefixes, such as {'34', '351'}, or None for any"


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


def _regions(value: Iterable[str] | None) -> frozenset[str] | None:
    if value is None:
        return None
    if isinstance(value, str) or not isinstance(value, Iterable):
        problem = f"is of type {type(value).__name__}"
        raise InvalidConfiguration("allowed_regions", problem, _REGIONS_EXPECTED)
    regions = list(value)
    for region in regions:
        unknown = region_problem(region)
        if unknown is not None:
            raise InvalidConfiguration("allowed_regions", f"holds one that {unknown}", _REGIONS_EXPECTED)
    if not regions:
        raise InvalidConfiguration("allowed_regions", "is empty, which allows nothing", _REGIONS_EXPECTED)
    return frozenset(region.upper() for region in regions)


def _shown(prefix: str) -> str:
    """Write a prefix for people. One that is long enough to be somebody's number is masked like a number."""
    return f"+{prefix}" if len(prefix) < _SHORTEST else f"+{mask_msisdn(prefix)}"


def _all_shown(prefixes: frozenset[str] | None) -> str:
    return "None" if prefixes is None else f"{{{', '.join(map(_shown, sorted(prefixes)))}}}"


def _regions_shown(regions: frozenset[str] | None) -> str:
    return "None" if regions is None else f"{{{', '.join(map(repr, sorted(regions)))}}}"


def _check_limit(_: object, attribute: attrs.Attribute[int | None], value: int | None) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidConfiguration(attribute.name, f"is of type {type(value).__name__}", _LIMIT_EXPECTED)
    if value < 0:
        raise InvalidConfiguration(attribute.name, "is negative", _LIMIT_EXPECTED)


def _check_window(_: object, attribute: attrs.Attribute[float], value: float) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise InvalidConfiguration(attribute.name, f"is of type {type(value).__name__}", _WINDOW_EXPECTED)
    if not is_finite(value) or value <= 0:
        raise InvalidConfiguration(attribute.name, f"is {value!r}", _WINDOW_EXPECTED)


@attrs.frozen(kw_only=True, repr=False)
class SpendGuard:
    """Where SMS may go, and how many.

    A call counts once, whatever its retries: by default only the last of them can be an SMS. With
    `RetryPolicy(retry_maybe_sent=True)` each can be one, up to its `max_attempts`.

    A limit of SMS counts what was sent or may have been, and what is on its way. What was not sent, because the HLR
    lookup failed say, counts as an attempt alone, and a call that never had an effect, for want of a connection or by
    an HTTP 429, not at all. HLR lookups can cost money too: for an open form, limit the attempts as well.

    Immutable and without state, so one guard can serve many clients.

    Args:
        allowed_prefixes: What a number has to begin with, from its country calling code on: `{"34", "351"}`,
            with or without a leading +. `None`: anything.
        allowed_regions: The regions that a number has to be of, as ISO 3166 codes: `{"ES", "PT"}`. A calling code
            is not a country: 25 regions share +1, some of them expensive, and +44 covers Guernsey. A number whose
            region cannot be told is refused. `None`: any.
        per_number: SMS to one number within `window`, at most; `None`: any number of them.
        per_prefix: SMS to numbers of one prefix, within `window`, at most; `None`: any number. The
            prefix is the longest of `allowed_prefixes` that the number begins with, and without these its
            country calling code.
        per_client: SMS of the client within `window`, at most; `None`: any number.
        attempts_per_number: Requests for one number that reached the gateway, within `window`, at most, whatever
            became of them; `None`: any number.
        attempts: The same of the client, for all numbers; `None`: any number.
        window: Seconds that the limits above are about, wherever they begin.
        total: SMS in the client's lifetime, at most; `None`: any number.

    Raises:
        InvalidConfiguration: A value is out of its range or of another type; `.setting` names it.
    """

    allowed_prefixes: frozenset[str] | None = attrs.field(default=None, converter=_prefixes, repr=_all_shown)
    allowed_regions: frozenset[str] | None = attrs.field(
        default=None, converter=_regions, repr=_regions_shown
    )
    per_number: int | None = attrs.field(default=None, validator=_check_limit)
    per_prefix: int | None = attrs.field(default=None, validator=_check_limit)
    per_client: int | None = attrs.field(default=None, validator=_check_limit)
    attempts_per_number: int | None = attrs.field(default=None, validator=_check_limit)
    attempts: int | None = attrs.field(default=None, validator=_check_limit)
    window: float = attrs.field(default=3600.0, validator=_check_window)
    total: int | None = attrs.field(default=None, validator=_check_limit)

    def __repr__(self) -> str:
        return repr_of(self)

    def open(self) -> GuardAccount:
        """Open an account that has admitted nothing. A client keeps one over all its requests."""
        return GuardAccount(self)


@attrs.define(eq=False)
class Admission:
    """A request that was admitted, for `GuardAccount.give_back`.

    Args:
        number: Its number.
        prefix: The prefix that it counts for.
        at: When it was admitted, in seconds.
        counted: Whether it still counts as an SMS: it was not given back.
    """

    number: str = attrs.field(repr=mask_msisdn)
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
    """Whether the gateway had the request, or may have had it, so that it counts as an attempt."""
    # A refusal of the gateway's is a request that it had.
    return not isinstance(result, TransportFailure) or may_be_an_sms(result)


def may_be_an_sms(result: PinResult) -> bool:
    """Whether a result counts on a limit of SMS."""
    return result.disposition is not Disposition.NOT_SENT


@attrs.frozen
class GuardLimit:
    """One limit of a guard.

    Args:
        kind: The kind of failure of what it refuses.
        most: Requests that there may be.
        window: Seconds that it is about, wherever they begin; `None`: ever.
        of: What is counted apart: each number, each prefix, or nothing.
    """

    kind: RefusalKind
    most: int
    window: float | None
    of: Literal["number", "prefix", "all"]

    def scope(self, msisdn: str, prefix: str) -> str:
        """Give what a request is counted for."""
        return msisdn if self.of == "number" else prefix if self.of == "prefix" else ""


class GuardRules:
    """The rules of a `SpendGuard`, wherever its counts are kept.

    Args:
        guard: The guard.
    """

    __slots__ = ("_lengths", "guard", "limits")

    def __init__(self, guard: SpendGuard) -> None:
        self.guard = guard
        # The longest first. Numbers are looked up by so many beginnings, however many prefixes there are.
        self._lengths = sorted({len(prefix) for prefix in guard.allowed_prefixes or ()}, reverse=True)
        window = guard.window
        limits: tuple[
            tuple[RefusalKind, int | None, float | None, Literal["number", "prefix", "all"]], ...
        ] = (
            (FailureKind.ATTEMPT_LIMIT, guard.attempts_per_number, window, "number"),
            (FailureKind.ATTEMPT_LIMIT, guard.attempts, window, "all"),
            (FailureKind.NUMBER_LIMIT, guard.per_number, window, "number"),
            (FailureKind.PREFIX_LIMIT, guard.per_prefix, window, "prefix"),
            (FailureKind.CLIENT_LIMIT, guard.per_client, window, "all"),
            (FailureKind.TOTAL_LIMIT, guard.total, None, "all"),
        )
        self.limits = tuple(
            GuardLimit(kind, most, within, of) for kind, most, within, of in limits if most is not None
        )

    def prefix_of(self, msisdn: str) -> str | Refusal:
        """Give the prefix that a number counts for, or say that it may not be sent to."""
        regions = self.guard.allowed_regions
        if regions is not None and (region := region_of(msisdn)) not in regions:
            of = "whose region cannot be told" if region is None else f"of {region}"
            return Refusal(
                FailureKind.REGION_NOT_ALLOWED,
                f"a number of +{calling_code(msisdn)} {of}, and the guard allows "
                f"{', '.join(sorted(regions))} alone",
            )
        allowed = self.guard.allowed_prefixes
        if allowed is None:
            return calling_code(msisdn)
        for length in self._lengths:
            if msisdn[:length] in allowed:
                return msisdn[:length]
        detail = f"a number of +{calling_code(msisdn)} that begins with none of the allowed prefixes"
        return Refusal(FailureKind.PREFIX_NOT_ALLOWED, detail)

    def refusal(self, kind: RefusalKind, prefix: str) -> Refusal:
        """Say which limit is reached."""
        guard = self.guard
        within = f"within {guard.window:g} s"
        details = {
            FailureKind.ATTEMPT_LIMIT: f"as many requests as the guard lets be tried {within}",
            FailureKind.NUMBER_LIMIT: f"this number has had its {guard.per_number} SMS {within}",
            FailureKind.PREFIX_LIMIT: f"numbers of {_shown(prefix)} have had their {guard.per_prefix} SMS {within}",
            FailureKind.CLIENT_LIMIT: f"the client has had its {guard.per_client} SMS {within}",
            FailureKind.TOTAL_LIMIT: f"the client has had its {guard.total} SMS",
        }
        return Refusal(kind, details[kind])


class GuardAccount:
    """What one client has spent of a `SpendGuard`.

    Args:
        guard: The rule.
    """

    __slots__ = ("_limits", "_rules")

    def __init__(self, guard: SpendGuard) -> None:
        self._rules = GuardRules(guard)
        self._limits: list[tuple[RefusalKind, Limit[Admission]]] = [
            (limit.kind, Limit(limit.most, _scope_of(limit), limit.window)) for limit in self._rules.limits
        ]

    def admit(self, msisdn: str, now: float) -> Admission | Refusal:
        """Count a request, or say why it may not be sent.

        Args:
            msisdn: The number, in international format, digits only.
            now: The time on the caller's clock, in seconds.
        """
        prefix = self._rules.prefix_of(msisdn)
        if isinstance(prefix, Refusal):
            return prefix
        admission = Admission(msisdn, prefix, now)
        for kind, limit in self._limits:
            if limit.is_reached(admission):
                return self._rules.refusal(kind, prefix)
        for _, limit in self._limits:
            limit.add(admission)
        return admission

    def give_back(self, admission: Admission, *, attempted: bool = False) -> None:
        """Take the count back of a request that certainly became no SMS. Again does nothing.

        Args:
            admission: What `admit` of this account gave for it.
            attempted: Whether the gateway had it: it goes on counting as an attempt.
        """
        if not admission.counted:
            return
        admission.counted = False
        for kind, limit in self._limits:
            if not (attempted and kind is FailureKind.ATTEMPT_LIMIT):
                limit.drop(admission)


def _scope_of(limit: GuardLimit) -> Callable[[Admission], str]:
    return lambda admission: limit.scope(admission.number, admission.prefix)
