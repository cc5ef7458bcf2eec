"""How much may be spent, and on which numbers: pure policy and pure memory.

An open sign-up form is an open purse: numbers of an expensive network that shares its earnings ("SMS pumping").

Invariants:

- No clock: the caller hands in the time, in seconds on a clock that never goes back.
- In any stretch of `window` seconds, wherever it begins, at most the limit were admitted. A stretch does not hold its end.
- A refused request counts nowhere. An admitted one counts at once, before it is sent, and may be given back.
- SMS and attempts count apart: numbers that do not exist use up no SMS.
- Memory is bounded by the limits and the window, or by the cooldown.
- No text that is made here holds a whole number.
"""

# The annotations are for users' type checkers; the checks are for all others at run time.
# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

import attrs

from ._config import ABOVE_ZERO, checked_collection, checked_count, checked_seconds
from ._exceptions import InvalidConfiguration
from ._numbers import calling_code, region_of, region_problem
from ._redaction import mask_msisdn, repr_of
from ._results import Disposition, FailureKind, PinResult, TransportFailure

_LONGEST: Final = 15  # digits of a number (ITU-T E.164)
_SHORTEST: Final = 7

_LIMIT_EXPECTED: Final = "a whole number, 0 or more, or None for no limit"
_WINDOW_EXPECTED: Final = "a finite number of seconds above 0"
_REGIONS_EXPECTED: Final = (
    "a collection of ISO 3166 codes of two letters, such as {'ES', 'PT'}, or None for any"
)
_PREFIXES_EXPECTED: Final = "a collection of calling-code prefixes, such as {'34', '351'}, or None for any"
_Scope: TypeAlias = Literal["number", "prefix", "all"]


def _prefixes(value: Iterable[str] | None) -> frozenset[str] | None:
    if value is None:
        return None
    prefixes = {_prefix(item) for item in checked_collection("allowed_prefixes", value, _PREFIXES_EXPECTED)}
    if not prefixes:
        raise InvalidConfiguration("allowed_prefixes", "is empty, which allows nothing", _PREFIXES_EXPECTED)
    return frozenset(prefixes)


def _prefix(value: object) -> str:
    digits = value.removeprefix("+") if isinstance(value, str) else ""
    if not isinstance(value, str):
        problem = f"holds a {type(value).__name__}"
    elif not (digits.isascii() and digits.isdigit()):
        problem = "holds something other than digits after an optional +"
    elif digits.startswith("0"):
        problem = "holds a prefix that starts with 0, which no country calling code does"
    elif len(digits) > _LONGEST:
        problem = f"holds a prefix of {len(digits)} digits, which is longer than any number"
    else:
        return digits
    raise InvalidConfiguration("allowed_prefixes", problem, _PREFIXES_EXPECTED)


def _regions(value: Iterable[str] | None) -> frozenset[str] | None:
    if value is None:
        return None
    regions = checked_collection("allowed_regions", value, _REGIONS_EXPECTED)
    problems = (f"holds one that {problem}" for region in regions if (problem := region_problem(region)))
    problem = next(problems, None) if regions else "is empty, which allows nothing"
    if problem is not None:
        raise InvalidConfiguration("allowed_regions", problem, _REGIONS_EXPECTED)
    return frozenset(region.upper() for region in regions)


def _shown(prefix: str) -> str:
    """Write a prefix for people. One that is long enough to be a person's number is masked like a number."""
    return f"+{prefix}" if len(prefix) < _SHORTEST else f"+{mask_msisdn(prefix)}"


def _all_shown(prefixes: frozenset[str] | None) -> str:
    return "None" if prefixes is None else f"{{{', '.join(map(_shown, sorted(prefixes)))}}}"


def _regions_shown(regions: frozenset[str] | None) -> str:
    return "None" if regions is None else f"{{{', '.join(map(repr, sorted(regions)))}}}"


def _check_limit(_: object, attribute: attrs.Attribute[int | None], value: int | None) -> None:
    if value is not None:
        checked_count(attribute.name, value, _LIMIT_EXPECTED, least=0)


def _check_window(_: object, attribute: attrs.Attribute[float], value: float) -> None:
    checked_seconds(attribute.name, value, _WINDOW_EXPECTED, least=ABOVE_ZERO)


@attrs.frozen(kw_only=True, repr=False)
class SpendGuard:
    """The numbers that SMS may go to, and how many SMS.

    A call counts once, whatever its retries: by default only the last of them can be an SMS. With
    `RetryPolicy(retry_maybe_sent=True)` each can be one, up to its `max_attempts`.

    A limit of SMS counts what was sent or may have been, and what is on its way. A request that was not sent, because the HLR
    lookup failed say, counts as an attempt alone, and a call that never had an effect, for want of a connection or by
    an HTTP 429, not at all. HLR lookups can cost money too: for an open form, limit the attempts as well.

    Immutable and without state, so one guard can serve many clients.

    Args:
        allowed_prefixes: The beginnings of allowed numbers, from their country calling code on: `{"34", "351"}`,
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


_LIMITS: Final[tuple[tuple[FailureKind, str, _Scope], ...]] = (
    (FailureKind.ATTEMPT_LIMIT, "attempts_per_number", "number"),
    (FailureKind.ATTEMPT_LIMIT, "attempts", "all"),
    (FailureKind.NUMBER_LIMIT, "per_number", "number"),
    (FailureKind.PREFIX_LIMIT, "per_prefix", "prefix"),
    (FailureKind.CLIENT_LIMIT, "per_client", "all"),
    (FailureKind.TOTAL_LIMIT, "total", "all"),
)
"""The kind of failure, the field of `SpendGuard`, and what is counted apart; in the order of the checks."""


@attrs.define(eq=False)
class Admission:
    """A request that was admitted, for `GuardAccount.give_back`."""

    number: str = attrs.field(repr=mask_msisdn)
    prefix: str = attrs.field(repr=_shown)
    at: float
    """When, in seconds."""
    counted: bool = True
    """Whether it still counts as an SMS: it was not given back."""


@attrs.frozen
class Refusal:
    """A request that was not admitted: why, in one word and for people."""

    kind: FailureKind = attrs.field(repr=str)
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
    kind: FailureKind
    """The kind of failure of a request that it refuses."""
    most: int
    window: float | None
    """Seconds that it is about, wherever they begin; `None`: ever."""
    of: _Scope
    """The unit of the count: each number, each prefix, or nothing."""

    def scope(self, msisdn: str, prefix: str) -> str:
        """Return what a request is counted for."""
        return msisdn if self.of == "number" else prefix if self.of == "prefix" else ""


class GuardRules:
    """The rules of a `SpendGuard`, wherever its counts are kept."""

    __slots__ = ("_lengths", "guard", "limits")

    def __init__(self, guard: SpendGuard) -> None:
        self.guard = guard
        # The longest first. Numbers are looked up by so many beginnings, however many prefixes there are.
        self._lengths = sorted({len(prefix) for prefix in guard.allowed_prefixes or ()}, reverse=True)
        self.limits = tuple(
            GuardLimit(kind, most, None if name == "total" else guard.window, of)
            for kind, name, of in _LIMITS
            if (most := getattr(guard, name)) is not None
        )

    def prefix_of(self, msisdn: str) -> str | Refusal:
        """Return the prefix that a number counts for, or why it may not be sent to."""
        regions, prefixes = self.guard.allowed_regions, self.guard.allowed_prefixes
        if regions is not None and (region := region_of(msisdn)) not in regions:
            of = "whose region cannot be told" if region is None else f"of {region}"
            allowed = ", ".join(sorted(regions))
            detail = f"a number of +{calling_code(msisdn)} {of}, and the guard allows {allowed} alone"
            return Refusal(FailureKind.REGION_NOT_ALLOWED, detail)
        if prefixes is None:
            return calling_code(msisdn)
        for length in self._lengths:
            if msisdn[:length] in prefixes:
                return msisdn[:length]
        detail = f"a number of +{calling_code(msisdn)} that begins with none of the allowed prefixes"
        return Refusal(FailureKind.PREFIX_NOT_ALLOWED, detail)

    def refusal(self, kind: FailureKind, prefix: str) -> Refusal:
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


class _Count:
    """The use of one limit, for each scope."""

    __slots__ = ("by_scope", "limit", "recent")

    def __init__(self, limit: GuardLimit) -> None:
        self.limit = limit
        self.by_scope: Counter[str] = Counter()
        # The window's admissions, the oldest first, of all scopes: those of a scope that is never asked for again go as
        # well. Not a dict, whose first key takes ever longer to find while the ones before it are deleted.
        self.recent: OrderedDict[Admission, None] = OrderedDict()

    def is_reached(self, admission: Admission) -> bool:
        window = self.limit.window
        while window is not None and self.recent:
            oldest = next(iter(self.recent))
            if admission.at - oldest.at < window:
                break
            self.drop(oldest)
        return self.by_scope[self._scope(admission)] >= self.limit.most

    def add(self, admission: Admission) -> None:
        self.by_scope[self._scope(admission)] += 1
        if self.limit.window is not None:
            self.recent[admission] = None

    def drop(self, admission: Admission) -> None:
        """Count an admission no more, unless the window has left it behind."""
        if self.limit.window is not None:
            if admission not in self.recent:
                return
            del self.recent[admission]
        scope = self._scope(admission)
        self.by_scope[scope] -= 1
        if not self.by_scope[scope]:
            del self.by_scope[scope]

    def _scope(self, admission: Admission) -> str:
        return self.limit.scope(admission.number, admission.prefix)


class GuardAccount:
    """The expenses of one client under a `SpendGuard`."""

    __slots__ = ("_counts", "_rules")

    def __init__(self, guard: SpendGuard) -> None:
        self._rules = GuardRules(guard)
        self._counts = [_Count(limit) for limit in self._rules.limits]

    def admit(self, msisdn: str, now: float) -> Admission | Refusal:
        """Count a request at `now` seconds, or say why it may not be sent."""
        prefix = self._rules.prefix_of(msisdn)
        if isinstance(prefix, Refusal):
            return prefix
        admission = Admission(msisdn, prefix, now)
        for count in self._counts:
            if count.is_reached(admission):
                return self._rules.refusal(count.limit.kind, prefix)
        for count in self._counts:
            count.add(admission)
        return admission

    def give_back(self, admission: Admission, *, attempted: bool = False) -> None:
        """Take the count back of a request that became no SMS; if it was `attempted`, not its attempt. Again does nothing."""
        if admission.counted:
            admission.counted = False
            for count in self._counts:
                if not (attempted and count.limit.kind is FailureKind.ATTEMPT_LIMIT):
                    count.drop(admission)


class Cooldown:
    """The results of the last `seconds` that were sent or may have been, by number."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        # In the order of their ends. A dict's first key would take ever longer to find as others are deleted.
        self._recent: OrderedDict[str, tuple[float, PinResult]] = OrderedDict()

    def earlier(self, msisdn: str, now: float) -> PinResult | None:
        """Return the result that still stands for a number, marked as `replayed`."""
        self._forget(now)
        _, result = self._recent.get(msisdn, (now, None))
        return None if result is None else attrs.evolve(result, replayed=True)

    def note(self, msisdn: str, result: PinResult, now: float) -> None:
        """Remember a call's result, unless it was not sent or is itself an earlier one."""
        if result.disposition is Disposition.NOT_SENT or result.replayed:
            return
        self._forget(now)
        self._recent.pop(msisdn, None)  # so that it stands at the end
        self._recent[msisdn] = (now + self._seconds, result)

    def _forget(self, now: float) -> None:
        while self._recent:
            msisdn = next(iter(self._recent))
            if self._recent[msisdn][0] > now:
                return
            del self._recent[msisdn]
