"""When to send: the retry policy, its budget, and the rate. Pure.

Invariants:

- No clock, no random source, no asyncio: the caller hands in what it read.
- By default only a request that certainly was not sent is repeated.
- Durations are in seconds. Times are seconds on a clock of the caller's that never goes back, but for
  `parse_retry_after`, whose dates need the wall clock.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Final

import attrs

from ._config import checked_collection, checked_count, checked_instance, checked_seconds
from ._exceptions import InvalidConfiguration
from ._redaction import repr_of
from ._results import ApiError, Disposition, ErrorId, FailureKind, Ok, PinResult, TransportFailure

_TRANSIENT: Final = frozenset({FailureKind.CONNECT, FailureKind.TLS, FailureKind.POOL, FailureKind.THROTTLED})
"""Kinds that another try may cure. The rest (a wrong certificate, a 404) would only fail again."""

_OVER: Final = frozenset({FailureKind.DEADLINE, FailureKind.CANCELLED})
"""Kinds of calls that no caller waits for any more."""

HORIZON: Final = 0.05
"""Seconds of permits that are granted ahead."""

CATCH_UP: Final = 0.05
"""Seconds of permits that may be made up for: a timer is always late, and a fast rate would lose that each time."""

_SECONDS: Final = re.compile(r"[0-9]+(\.[0-9]*)?")
_LIST_COMMA: Final = re.compile(r"(?<![A-Za-z]),|(?<=[A-Za-z]),(?! *[0-9]{1,2}[ -][A-Za-z])")
"""A comma between two values, and not the one behind the day's name in a date."""


def _non_negative(unit: str) -> Callable[[Any, attrs.Attribute[float], float], None]:
    def check(_: object, attribute: attrs.Attribute[float], value: float) -> None:
        checked_seconds(attribute.name, value, f"a finite number of {unit}, 0 or more")

    return check


def _error_ids(value: Iterable[ErrorId | str]) -> frozenset[str]:
    expected = "a collection of error ids, such as {ErrorId.INVALID_NUMBER}"
    ids = checked_collection("error_ids", value, expected)
    for error_id in ids:
        if not isinstance(error_id, str):
            raise InvalidConfiguration("error_ids", f"holds a {type(error_id).__name__}", expected)
    return frozenset(ids)


@attrs.frozen
class RetryBudget:
    """How many retries a client may make in all, so that a gateway that is down is not made worse.

    A bucket that gains `per_second` tokens a second and `ratio` tokens a call, and that holds at most
    `per_second * window` (at least 1). A retry takes one token; without one, a failure is final. So `n`
    calls within `t` seconds make at most `per_second * (window + t) + ratio * n` retries.

    Args:
        per_second: Retries per second that are always allowed; 0 or more.
        ratio: Retries on top, as a share of the calls; 0 or more.
        window: Seconds of `per_second` that can be saved up for a burst; 0 or more.

    Raises:
        InvalidConfiguration: A value is negative or not finite.
    """

    per_second: float = attrs.field(default=10.0, validator=_non_negative("retries"))
    ratio: float = attrs.field(default=0.2, validator=_non_negative("retries per call"))
    window: float = attrs.field(default=10.0, validator=_non_negative("seconds"))

    def open(self, now: float) -> BudgetAccount:
        """Open an account that starts full. A client keeps one over all its calls."""
        return BudgetAccount(self, now)


class BudgetAccount:
    """The balance of a `RetryBudget`. Times are seconds on the caller's clock."""

    __slots__ = ("_budget", "_capacity", "_tokens", "_updated")

    def __init__(self, budget: RetryBudget, now: float) -> None:
        self._budget = budget
        self._tokens = budget.per_second * budget.window
        self._capacity = max(1.0, self._tokens) if budget.per_second or budget.ratio else 0.0
        self._updated = now

    def deposit(self) -> None:
        """Count one call."""
        self._tokens = min(self._capacity, self._tokens + self._budget.ratio)

    def withdraw(self, now: float) -> bool:
        """Take the token for one retry, if there is one."""
        gained = max(0.0, now - self._updated) * self._budget.per_second
        self._tokens = min(self._capacity, self._tokens + gained)
        self._updated = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


@attrs.frozen(repr=False)
class RetryPolicy:
    """When a call is tried again. Immutable and without state, so one policy can serve many clients.

    Args:
        max_attempts: Attempts of one call at most, the first included; 1 turns retrying off.
        base_delay: Seconds that bound the first wait.
        max_delay: Seconds that bound every wait, but for a longer `Retry-After`.
        retry_maybe_sent: Also repeat what may have been sent. Each such retry can be a second SMS, which
            costs money and voids the PIN of the first.
        error_ids: Error ids to try again after, besides; none by default. `UNKNOWN_ERROR` may have been sent:
            it takes `retry_maybe_sent`, and naming it here changes nothing.
        budget: How many retries a client may make in all; `None`: as many as its calls want.

    Raises:
        InvalidConfiguration: A value is out of its range.
    """

    max_attempts: int = attrs.field(default=4)
    base_delay: float = attrs.field(default=0.2, validator=_non_negative("seconds"))
    max_delay: float = attrs.field(default=5.0, validator=_non_negative("seconds"))
    retry_maybe_sent: bool = False
    error_ids: frozenset[str] = attrs.field(default=frozenset(), converter=_error_ids)
    budget: RetryBudget | None = RetryBudget()

    def __repr__(self) -> str:
        return repr_of(self)

    def __attrs_post_init__(self) -> None:
        checked_count("max_attempts", self.max_attempts, "a whole number, 1 or more", least=1)
        # A "no" out of a configuration file would turn it on.
        checked_instance("retry_maybe_sent", self.retry_maybe_sent, bool, "True or False")
        if self.budget is not None:
            checked_instance("budget", self.budget, RetryBudget, "a RetryBudget, or None for no limit")

    def decide(
        self, result: PinResult, *, attempt: int, remaining: float, random: Callable[[], float]
    ) -> float | None:
        """Decide what follows a result.

        The n-th wait is drawn uniformly from [0, min(max_delay, base_delay * 2**(n-1))]: "full jitter",
        which spreads callers that failed together. A `Retry-After` that is longer takes its place.

        Args:
            result: The result of the attempt.
            attempt: Attempts so far, from 1.
            remaining: Seconds until the call's deadline.
            random: Gives a number in [0, 1).

        Returns:
            Seconds to wait before the next attempt, or `None` to give this result to the caller: it is
            final, the attempts are used up, or the wait would not end before the deadline.
        """
        if isinstance(result, Ok) or attempt >= self.max_attempts or not self._repeatable(result):
            return None
        # The exponent has a bound, as `2.0 ** n` raises where it overflows; a product becomes infinity.
        delay = random() * min(self.max_delay, self.base_delay * 2.0 ** min(attempt - 1, 64))
        delay = max(delay, result.retry_after or 0.0)
        return delay if delay < remaining else None

    def _repeatable(self, result: ApiError | TransportFailure) -> bool:
        if isinstance(result, TransportFailure) and result.kind in _OVER:
            return False
        if result.disposition is Disposition.MAYBE_SENT:
            return self.retry_maybe_sent
        if isinstance(result, TransportFailure):
            return result.kind in _TRANSIENT
        # An id that is not published is, under a 429, no more than the 429.
        throttled = result.http_status == 429 and not isinstance(result.error_id, ErrorId)
        return throttled or result.error_id in self.error_ids


def parse_retry_after(value: str | None, *, now: float) -> float | None:
    """Read a `Retry-After` header (RFC 9110, section 10.2.3): seconds, or an HTTP date.

    Args:
        value: The header, or `None` if there was none. Of a list (several lines, RFC 9110, section 5.3) the longest
            wait counts.
        now: The wall clock, in seconds since 1970-01-01 UTC.

    Returns:
        Seconds to wait: a fraction is rounded up, and a date that has passed is 0. Infinity, which fits no deadline,
        where a value is neither form: the gateway wants a pause, and how long is not known.
    """
    if value is None:
        return None
    parts = [part.strip() for part in _LIST_COMMA.split(value)]
    return max((_parse_wait(part, now) for part in parts if part), default=math.inf)


def _parse_wait(text: str, now: float) -> float:
    if _SECONDS.fullmatch(text):
        seconds = float(text)  # thousands of digits become infinity
        return seconds if seconds == math.inf else float(math.ceil(seconds))
    try:
        date = parsedate_to_datetime(text)
        # An asctime date names no zone; HTTP's dates are all in UTC (RFC 9110, section 5.6.7).
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        return max(0.0, date.timestamp() - now)
    except (ValueError, OverflowError):
        return math.inf


def next_permits(
    at: float, now: float, count: int, interval: float, *, tick: float = 0.0
) -> tuple[int, float, float]:
    """Grant permits by the generic cell rate algorithm (ITU-T I.371): the next is one interval after the last.

    Args:
        at: When the next permit is, in seconds on the caller's clock; `now` before the first one.
        now: The time on that clock.
        count: Permits wanted.
        interval: Seconds between two permits.
        tick: Seconds that the clock is exact to.

    Returns:
        How many; in how many seconds the first one is (less than 0: it was), or where there is none, in how many seconds
        to ask again; and when the next permit is then.
    """
    first = max(at - now, -CATCH_UP)
    if first > HORIZON + interval + 1.0:
        first = 0.0  # the clock was set back, or the rate was a much lower one
    if first > HORIZON:
        return 0, first - HORIZON, at
    granted = min(count, math.floor((HORIZON - first + tick) / interval) + 1)
    return granted, first, now + first + granted * interval


class Gcra:
    """A rate limiter of one process; see `next_permits`.

    Args:
        interval: Seconds between two permits.
    """

    __slots__ = ("_interval", "_next")

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._next: float | None = None

    def grant(self, now: float, count: int) -> tuple[int, float]:
        """Grant permits: how many, and the seconds until the first one, or until it is worth asking again."""
        at = now if self._next is None else self._next
        granted, seconds, self._next = next_permits(at, now, count, self._interval)
        return granted, seconds
