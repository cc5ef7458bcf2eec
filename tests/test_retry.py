"""The policy is pure: a fake clock and chosen random numbers prove every bound that it states."""

import math
import pickle
import time
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cases import each

from gateway360_async import (
    ApiError,
    Disposition,
    ErrorId,
    FailureKind,
    InvalidConfiguration,
    Ok,
    RetryBudget,
    RetryPolicy,
    TransportFailure,
)
from gateway360_async._retry import parse_retry_after

PROPERTY = settings(deadline=None, max_examples=100, derandomize=True)

NOT_SENT, MAYBE_SENT = Disposition.NOT_SENT, Disposition.MAYBE_SENT
TRANSIENT = [FailureKind.CONNECT, FailureKind.TLS, FailureKind.POOL, FailureKind.THROTTLED]
OVER = [FailureKind.DEADLINE, FailureKind.CANCELLED]
REFUSED = TransportFailure(FailureKind.CONNECT, NOT_SENT)
LOST = TransportFailure(FailureKind.TIMEOUT, MAYBE_SENT)
ALMOST_1 = math.nextafter(1.0, 0.0)


def decided(policy, result, *, attempt=1, remaining=30.0, random=0.5):
    return policy.decide(result, attempt=attempt, remaining=remaining, random=lambda: random)


def repeats(result, **settings):
    """Whether a policy with these settings makes another attempt."""
    return decided(RetryPolicy(**settings), result) is not None


# The policy, decision by decision


def test_policy_has_the_defaults_of_the_design():
    policy = RetryPolicy()
    assert (policy.max_attempts, policy.base_delay, policy.max_delay) == (4, 0.2, 5.0)
    assert (policy.retry_maybe_sent, policy.error_ids) == (False, frozenset())
    assert policy.budget == RetryBudget(per_second=10.0, ratio=0.2, window=10.0)


@each("retry_maybe_sent", [False, True])
def test_policy_never_repeats_an_accepted_request(retry_maybe_sent):
    assert not repeats(Ok(), retry_maybe_sent=retry_maybe_sent, error_ids=ErrorId)


@each("kind", FailureKind)
def test_policy_repeats_failures_by_kind_and_disposition(kind):
    assert repeats(TransportFailure(kind, NOT_SENT)) is (kind in TRANSIENT)
    assert repeats(TransportFailure(kind, NOT_SENT), retry_maybe_sent=True) is (kind in TRANSIENT)
    assert not repeats(TransportFailure(kind, MAYBE_SENT))
    assert repeats(TransportFailure(kind, MAYBE_SENT), retry_maybe_sent=True) is (kind not in OVER)


@each("http_status", [200, 400, 429])
@each("error_id", [item for item in ErrorId if item is not ErrorId.UNKNOWN_ERROR])
def test_policy_repeats_a_published_error_that_is_named(error_id, http_status):
    error = ApiError(error_id, http_status=http_status)
    assert not repeats(error, retry_maybe_sent=True)
    assert not repeats(error, error_ids=set(ErrorId) - {error_id})
    assert repeats(error, error_ids={error_id})
    assert repeats(error, error_ids=[error_id.value])


@each(
    "error",
    [
        ApiError(ErrorId.UNKNOWN_ERROR),
        ApiError(ErrorId.UNKNOWN_ERROR, http_status=429),
        ApiError("BRAND_NEW", http_status=500),
    ],
    ids=str,
)
def test_policy_needs_more_than_a_name_for_a_maybe_sent_error(error):
    assert not repeats(error, error_ids={error.error_id})
    assert repeats(error, retry_maybe_sent=True)


def test_policy_repeats_an_unpublished_error_named_or_under_429():
    assert not repeats(ApiError("BRAND_NEW", http_status=400))
    assert repeats(ApiError("BRAND_NEW", http_status=400), error_ids={"BRAND_NEW"})
    assert repeats(ApiError("TOO_MANY_REQUESTS", http_status=429))


def test_policy_counts_attempts_from_the_first():
    policy = RetryPolicy(max_attempts=4)
    assert [decided(policy, REFUSED, attempt=n) is not None for n in range(1, 6)] == [True] * 3 + [False] * 2
    assert not repeats(REFUSED, max_attempts=1)


@each("random", [0.0, 0.25, 0.5, ALMOST_1])
@each(
    ("attempt", "bound"), [(1, 0.2), (2, 0.4), (3, 0.8), (4, 1.6), (5, 3.2), (6, 5.0), (7, 5.0), (10**18, 5)]
)
def test_wait_is_a_share_of_its_bound(attempt, bound, random):
    policy = RetryPolicy(max_attempts=10**20)
    assert decided(policy, REFUSED, attempt=attempt, random=random) == pytest.approx(random * bound)
    assert decided(RetryPolicy(base_delay=0), REFUSED, attempt=3, random=random) == 0.0


@each(("remaining", "again"), [(0.100001, True), (0.1, False), (0.05, False), (0.0, False), (-1.0, False)])
def test_wait_that_would_not_end_in_time_is_not_begun(remaining, again):
    assert (decided(RetryPolicy(), REFUSED, remaining=remaining) is not None) is again
    assert (decided(RetryPolicy(base_delay=0), REFUSED, remaining=remaining) is not None) is (remaining > 0)


@each(
    ("retry_after", "delay"),
    [
        *((None, 0.1), (0.0, 0.1), (0.05, 0.1), (0.15, 0.15), (7.0, 7.0), (29.0, 29.0)),
        *((30.0, None), (31.0, None), (math.inf, None)),
    ],
)
@each(
    "result",
    [
        TransportFailure(FailureKind.THROTTLED, NOT_SENT, 429),
        ApiError("TOO_MANY_REQUESTS", http_status=429),
        TransportFailure(FailureKind.HTTP_STATUS, MAYBE_SENT, 503),
    ],
    ids=str,
)
def test_retry_after_is_honoured_where_it_fits_the_deadline(result, retry_after, delay):
    result = attrs.evolve(result, retry_after=retry_after)
    assert decided(RetryPolicy(retry_maybe_sent=True), result) == delay


def test_retry_after_makes_nothing_repeatable():
    assert not repeats(attrs.evolve(LOST, retry_after=0.0))
    assert not repeats(ApiError(ErrorId.UNAUTHORIZED, retry_after=0.0))


def test_policy_reads_no_random_number_that_it_does_not_need():
    def unexpected():
        raise AssertionError

    for result in (Ok(), LOST, ApiError(ErrorId.BAD_PARAMS)):
        assert RetryPolicy().decide(result, attempt=1, remaining=30.0, random=unexpected) is None


# The policy, call by call

delays = st.none() | st.floats(0.0, 40.0) | st.just(math.inf)
results = st.one_of(
    st.builds(Ok),
    st.builds(
        ApiError,
        st.sampled_from([*ErrorId, "BRAND_NEW"]),
        http_status=st.sampled_from([200, 400, 429, 500]),
        retry_after=delays,
    ),
    st.builds(
        TransportFailure,
        st.sampled_from(FailureKind) | st.sampled_from(TRANSIENT),
        st.sampled_from([NOT_SENT, MAYBE_SENT]),
        retry_after=delays,
    ),
)
budgets = st.builds(
    RetryBudget,
    per_second=st.just(0) | st.floats(0.0, 5.0),
    ratio=st.just(0) | st.floats(0.0, 2.0),
    window=st.just(0) | st.floats(0.0, 5.0),
)
policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 8),
    base_delay=st.floats(0.0, 3.0),
    max_delay=st.floats(0.0, 10.0),
    retry_maybe_sent=st.booleans(),
    error_ids=st.frozensets(st.sampled_from([*ErrorId, "BRAND_NEW"]), max_size=3),
    budget=st.none() | budgets,
)
jitter = st.floats(0.0, ALMOST_1)


@PROPERTY
@given(
    policies,
    st.lists(st.tuples(results, st.floats(0.0, 3.0), jitter), min_size=1, max_size=10),
    st.floats(0.01, 60.0),
)
def test_call_keeps_every_bound_that_the_policy_states(policy, exchanges, deadline):
    now = 0.0
    account = None if policy.budget is None else policy.budget.open(now)
    if account is not None:
        account.deposit()
    attempts = retries = 0
    while True:
        attempts += 1
        result, took, random = exchanges[(attempts - 1) % len(exchanges)]
        now += took
        delay = decided(policy, result, attempt=attempts, remaining=deadline - now, random=random)
        if delay is None or (account is not None and not account.withdraw(now)):
            break
        retries += 1
        assert attempts < policy.max_attempts
        assert not isinstance(result, Ok)
        assert result.disposition is NOT_SENT or policy.retry_maybe_sent
        if isinstance(result, ApiError) and isinstance(result.error_id, ErrorId):
            assert result.error_id in policy.error_ids or result.error_id is ErrorId.UNKNOWN_ERROR
        bound = min(policy.max_delay, policy.base_delay * 2 ** (attempts - 1))
        asked = result.retry_after or 0.0
        assert asked <= delay <= max(bound, asked)
        now += delay
        assert now <= deadline + 1e-9
    assert retries == attempts - 1 < policy.max_attempts
    if policy.budget is not None:
        budget = policy.budget
        assert retries <= budget.per_second * (budget.window + now) + budget.ratio + 1e-6


@PROPERTY
@given(policies, results, jitter, st.integers(1, 100))
def test_decision_depends_on_time_by_the_wait_alone(policy, result, random, attempt):
    """With time to spare, only the result and the number of attempts count."""

    def within(remaining):
        return decided(policy, result, attempt=attempt, remaining=remaining, random=random)

    delay = within(math.inf)
    assert within(-1.0) is None
    if delay is None:
        assert within(1.0) is within(1e9) is None
    else:
        assert getattr(result, "retry_after", None) != math.inf
        assert within(delay) is None
        assert within(math.nextafter(delay, math.inf)) == delay


# Settings


def test_policy_is_frozen_hashable_and_pickles():
    policy = RetryPolicy(max_attempts=2, error_ids=[ErrorId.INVALID_NUMBER])
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        policy.retry_maybe_sent = True
    assert pickle.loads(pickle.dumps(policy)) == policy
    assert len({policy, RetryPolicy(max_attempts=2, error_ids={"INVALID_NUMBER"})}) == 1


NO_NUMBERS = [-0.001, -1, math.inf, -math.inf, math.nan, None, True, "1", b"1", timedelta(seconds=1), [1]]


@each(
    ("policy", "setting", "values"),
    [
        (RetryPolicy, "max_attempts", [0, -1, 1.0, 2.5, math.inf, None, True, False, "4", [4]]),
        (RetryPolicy, "base_delay", NO_NUMBERS),
        (RetryPolicy, "max_delay", NO_NUMBERS),
        (RetryPolicy, "retry_maybe_sent", ["no", "", 0, 1, None]),  # a "no" of a file is true
        (
            RetryPolicy,
            "error_ids",
            ["INVALID_NUMBER", ErrorId.INVALID_NUMBER, None, 5, b"X", [None], ["X", 5]],
        ),
        (RetryPolicy, "budget", [0.2, True, RetryBudget, {"per_second": 1}]),
        (RetryBudget, "per_second", NO_NUMBERS),
        (RetryBudget, "ratio", NO_NUMBERS),
        (RetryBudget, "window", NO_NUMBERS),
    ],
    ids=str,
)
def test_setting_that_is_wrong_is_refused_by_name(policy, setting, values):
    for value in values:
        with pytest.raises(InvalidConfiguration) as caught:
            policy(**{setting: value})
        assert caught.value.setting == setting


@each("ids", [[], (), set(), frozenset({"X"}), ["X", "X"], {"X": 1}, iter(["X"]), ErrorId])
def test_error_ids_may_be_any_collection(ids):
    policy = RetryPolicy(error_ids=ids)
    assert isinstance(policy.error_ids, frozenset)
    assert all(isinstance(error_id, str) for error_id in policy.error_ids)


def test_policy_that_was_refused_can_be_shown():
    assert "max_attempts=4" in repr(RetryPolicy())
    with pytest.raises(InvalidConfiguration) as caught:
        RetryPolicy(error_ids=3)
    lines = traceback.TracebackException.from_exception(caught.value, capture_locals=True).format()
    assert "RetryPolicy(max_attempts=4" in "".join(lines)


# The budget


def test_budget_starts_full_and_refills_by_the_second():
    account = RetryBudget(per_second=10.0, ratio=0.0, window=10.0).open(1000.0)
    assert sum(account.withdraw(1000.0) for _ in range(500)) == 100
    assert not account.withdraw(1000.05)
    assert account.withdraw(1000.15)
    assert not account.withdraw(1000.15)
    assert sum(account.withdraw(1001.5) for _ in range(500)) in (13, 14)
    assert sum(account.withdraw(9999.0) for _ in range(500)) == 100


def test_budget_earns_a_share_of_the_calls_up_to_its_window():
    account = RetryBudget(per_second=0, ratio=0.25).open(0.0)
    for _ in range(5):
        assert not account.withdraw(0.0)
        for _ in range(4):
            account.deposit()
        assert account.withdraw(0.0)
    account = RetryBudget(per_second=1.0, ratio=1.0, window=5.0).open(0.0)
    for _ in range(1000):
        account.deposit()
    assert sum(account.withdraw(0.0) for _ in range(1000)) == 5


def test_budget_without_a_window_can_save_one_retry():
    account = RetryBudget(per_second=0.5, ratio=0, window=0).open(0.0)
    steps = [(0.0, False), (1.0, False), (2.0, True), (2.0, False), (100.0, True), (100.0, False)]
    assert [account.withdraw(now) for now, _ in steps] == [granted for _, granted in steps]


def test_budget_has_an_account_for_each_client():
    budget = RetryBudget(per_second=1.0, ratio=0, window=1.0)
    one, other = budget.open(0.0), budget.open(0.0)
    assert one.withdraw(0.0)
    assert not any(one.withdraw(0.0) for _ in range(100))
    assert other.withdraw(0.0)


# Each step: how much later, whether it is a call (or a retry), and how often.
schedules = st.lists(
    st.tuples(st.just(0.0) | st.floats(0.0, 4.0), st.booleans(), st.integers(1, 12)), min_size=1, max_size=30
)


@PROPERTY
@given(budgets, schedules, st.floats(0.0, 1e6))
def test_budget_bounds_retries_and_bursts_of_any_schedule(budget, schedule, start):
    account = budget.open(start)
    now, calls, retries = start, 0, 0
    for later, is_call, times in schedule:
        now += later
        burst = 0
        for _ in range(times):
            if is_call:
                account.deposit()
                calls += 1
            else:
                burst += account.withdraw(now)
        retries += burst
        assert retries <= budget.per_second * (budget.window + now - start) + budget.ratio * calls + 1e-6
        assert burst <= max(1.0, budget.per_second * budget.window)


# Retry-After

MOMENT = datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)
FIXDATE, RFC_850, ASCTIME = DATES = [
    "Sun, 06 Nov 1994 08:49:37 GMT",
    "Sunday, 06-Nov-94 08:49:37 GMT",
    "Sun Nov  6 08:49:37 1994",
]


@each(
    ("text", "wait"),
    [
        *(("0", 0.0), ("1", 1.0), ("120", 120.0), ("007", 7.0), (" 5 ", 5.0), ("\t5", 5.0)),
        *(("60.0", 60.0), ("2.5", 3.0), ("0.0", 0.0), ("0.001", 1.0), ("5.", 5.0), ("9" * 15, 1e15 - 1)),
        *(("2, 2", 2.0), ("5, 6", 6.0), ("6,5", 6.0), (", 2,", 2.0), (f"2, {FIXDATE}", 30.0)),
        *((f"{RFC_850}, 45.5", 46.0), (f"{FIXDATE}, {ASCTIME}", 30.0), (None, None)),
        *(
            (f"Sun, 06 Nov 1994 {rest}", 30.0)
            for rest in ("08:49:37 +0000", "08:49:37 -0000", "10:49:37 +0200")
        ),
    ],
    ids=str,
)
def test_retry_after_is_the_longest_wait_rounded_up(text, wait):
    assert parse_retry_after(text, now=MOMENT.timestamp() - 30) == wait


@each("text", DATES)
def test_retry_after_date_is_the_time_until_then(text):
    now = MOMENT.timestamp()
    assert parse_retry_after(text, now=now - 90.5) == 90.5
    assert parse_retry_after(f"  {text} ", now=now - 1) == 1.0
    assert parse_retry_after(text, now=now) == parse_retry_after(text, now=now + 1e9) == 0.0


@pytest.fixture
def set_zone(monkeypatch):
    if not hasattr(time, "tzset"):
        pytest.skip("this platform has no tzset")

    def set_zone(zone):
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield set_zone
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("zone", ["UTC0", "EST5", "XYZ-14", "XYZ+12"])
def test_retry_after_date_is_in_utc_in_any_time_zone(set_zone, zone):
    set_zone(zone)
    assert {parse_retry_after(text, now=MOMENT.timestamp() - 10) for text in DATES} == {10.0}


@each(
    "text",
    [
        *(digits * "9" for digits in (400, 5000, 100_000)),
        *("", " ", "-1", "-0", "+5", "1e3", "0x10", "1_000", "5 5", "5, soon", ".5", "1.5s", "5s", "soon"),
        *("\u0663", "\u00b2", "\x00", ",", "Sun,", "GMT", "Sun, 06 Nov", "1994-11-06T08:49:37Z"),
        *("inf", "nan"),
        *("Sun, 32 Nov 1994 08:49:37 GMT", "Sun, 06 Xxx 1994 08:49:37 GMT", "Sun, 06 Nov 1994 25:49:37 GMT"),
        *(f"Sun, 06 Nov {year} 08:49:37 GMT" for year in ("9" * 11, "9" * 5000)),
        "Sun, 06 Nov 1994 08:49:37 -" + "9" * 30,
    ],
    ids=lambda text: ascii(text)[:40],
)
def test_retry_after_unreadable_means_no_retry(text):
    wait = parse_retry_after(text, now=0.0)
    assert wait == math.inf
    assert decided(RetryPolicy(), attrs.evolve(REFUSED, retry_after=wait), remaining=1e300) is None


words = st.sampled_from(["Sun,", "06", "Nov", "1994", "08:49:37", "GMT", "+0200", "-", ":", "99", "0", "am"])
headers = st.text(max_size=40) | st.text("0123456789 :,-+SunovGMT", max_size=40)


@PROPERTY
@given(headers | st.lists(words, max_size=8).map(" ".join), st.floats(-1e10, 1e10))
def test_retry_after_never_raises_nor_goes_back_in_time(text, now):
    wait = parse_retry_after(text, now=now)
    assert wait is None or wait >= 0.0


@PROPERTY
@given(st.datetimes(datetime(2000, 1, 1), datetime(2068, 1, 1)), st.integers(0, 10**9))
def test_retry_after_reads_a_formatted_date_to_the_second(moment, before):
    moment = moment.replace(microsecond=0, tzinfo=UTC)
    text = format_datetime(moment, usegmt=True)
    assert parse_retry_after(text, now=moment.timestamp() - before) == before
