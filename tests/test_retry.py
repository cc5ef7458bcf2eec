"""The policy is pure: a fake clock and chosen random numbers prove every bound that it states."""

import math
import pickle
import time
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import attrs
import pytest
from cases import each
from hypothesis import given, settings
from hypothesis import strategies as st

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


# The policy, decision by decision


def test_the_defaults_are_those_of_the_design():
    policy = RetryPolicy()
    assert (policy.max_attempts, policy.base_delay, policy.max_delay) == (4, 0.2, 5.0)
    assert policy.retry_maybe_sent is False
    assert policy.error_ids == frozenset()
    assert policy.budget == RetryBudget(per_second=10.0, ratio=0.2, window=10.0)


@each("retry_maybe_sent", [False, True])
def test_an_accepted_request_is_never_repeated(retry_maybe_sent):
    policy = RetryPolicy(retry_maybe_sent=retry_maybe_sent, error_ids=ErrorId)
    assert decided(policy, Ok()) is None


@each("kind", FailureKind)
def test_of_what_was_not_sent_only_the_transient_kinds_are_repeated(kind):
    again = decided(RetryPolicy(retry_maybe_sent=True), TransportFailure(kind, NOT_SENT))
    assert (again is not None) is (kind in TRANSIENT)


@each("kind", FailureKind)
def test_what_may_have_been_sent_is_repeated_only_where_the_caller_says_so(kind):
    failure = TransportFailure(kind, MAYBE_SENT)
    assert decided(RetryPolicy(), failure) is None
    again = decided(RetryPolicy(retry_maybe_sent=True), failure)
    assert (again is not None) is (kind not in OVER)


@each("http_status", [200, 400, 429])
@each("error_id", [item for item in ErrorId if item is not ErrorId.UNKNOWN_ERROR])
def test_a_published_error_is_repeated_only_where_it_is_named(error_id, http_status):
    error = ApiError(error_id, http_status=http_status)
    assert decided(RetryPolicy(retry_maybe_sent=True), error) is None
    assert decided(RetryPolicy(error_ids=set(ErrorId) - {error_id}), error) is None
    assert decided(RetryPolicy(error_ids={error_id}), error) is not None
    assert decided(RetryPolicy(error_ids=[error_id.value]), error) is not None


@each(
    "error",
    [
        ApiError(ErrorId.UNKNOWN_ERROR),
        ApiError(ErrorId.UNKNOWN_ERROR, http_status=429),
        ApiError("BRAND_NEW", http_status=500),
    ],
    ids=str,
)
def test_naming_an_error_that_may_have_been_sent_is_not_enough(error):
    assert decided(RetryPolicy(error_ids={error.error_id}), error) is None
    assert decided(RetryPolicy(retry_maybe_sent=True), error) is not None


def test_an_unpublished_error_is_repeated_only_if_named_or_under_429():
    assert decided(RetryPolicy(), ApiError("BRAND_NEW", http_status=400)) is None
    assert decided(RetryPolicy(error_ids={"BRAND_NEW"}), ApiError("BRAND_NEW", http_status=400)) is not None
    assert decided(RetryPolicy(), ApiError("TOO_MANY_REQUESTS", http_status=429)) is not None


def test_one_attempt_turns_retrying_off():
    assert decided(RetryPolicy(max_attempts=1), REFUSED) is None


@each(("attempt", "again"), [(1, True), (2, True), (3, True), (4, False), (5, False)])
def test_the_attempts_are_counted_from_the_first(attempt, again):
    assert (decided(RetryPolicy(max_attempts=4), REFUSED, attempt=attempt) is not None) is again


@each("random", [0.0, 0.25, 0.5, ALMOST_1])
@each(("attempt", "bound"), [(1, 0.2), (2, 0.4), (3, 0.8), (4, 1.6), (5, 3.2), (6, 5.0), (7, 5.0), (99, 5.0)])
def test_a_wait_is_a_share_of_its_bound(attempt, bound, random):
    policy = RetryPolicy(max_attempts=100)
    assert decided(policy, REFUSED, attempt=attempt, random=random) == pytest.approx(random * bound)


@each("attempt", [65, 66, 1025, 10**6, 10**18])
def test_an_unlimited_number_of_attempts_does_not_overflow(attempt):
    policy = RetryPolicy(max_attempts=10**20)
    assert decided(policy, REFUSED, attempt=attempt) == 2.5


def test_no_base_delay_means_no_wait():
    assert decided(RetryPolicy(base_delay=0), REFUSED, attempt=3, random=ALMOST_1) == 0.0


@each(("remaining", "again"), [(0.100001, True), (0.1, False), (0.05, False), (0.0, False), (-1.0, False)])
def test_a_wait_that_would_not_end_before_the_deadline_is_not_begun(remaining, again):
    assert (decided(RetryPolicy(), REFUSED, remaining=remaining) is not None) is again


def test_a_wait_of_nothing_still_needs_time_that_remains():
    assert decided(RetryPolicy(base_delay=0), REFUSED, remaining=0.0) is None


@each(
    ("retry_after", "remaining", "delay"),
    [
        (None, 30.0, 0.1),
        (0.0, 30.0, 0.1),
        (0.05, 30.0, 0.1),
        (0.15, 30.0, 0.15),
        (7.0, 30.0, 7.0),
        (29.0, 30.0, 29.0),
        (30.0, 30.0, None),
        (31.0, 30.0, None),
        (math.inf, 30.0, None),
    ],
)
@each(
    "result",
    [
        TransportFailure(FailureKind.THROTTLED, NOT_SENT, 429),
        ApiError("TOO_MANY_REQUESTS", http_status=429),
        TransportFailure(FailureKind.HTTP_STATUS, MAYBE_SENT, 503),
    ],
    ids=["bare 429", "429 with an id", "503"],
)
def test_a_retry_after_is_honoured_where_it_fits_the_deadline(result, retry_after, remaining, delay):
    policy = RetryPolicy(retry_maybe_sent=True)
    result = attrs.evolve(result, retry_after=retry_after)
    assert decided(policy, result, remaining=remaining) == delay


def test_a_retry_after_makes_nothing_repeatable():
    assert decided(RetryPolicy(), attrs.evolve(LOST, retry_after=0.0)) is None
    assert decided(RetryPolicy(), ApiError(ErrorId.UNAUTHORIZED, retry_after=0.0)) is None


def test_the_policy_reads_no_random_number_that_it_does_not_need():
    def unexpected():
        raise AssertionError

    for result in (Ok(), LOST, ApiError(ErrorId.BAD_PARAMS)):
        assert RetryPolicy().decide(result, attempt=1, remaining=30.0, random=unexpected) is None


# The policy, call by call

seconds = st.floats(0.0, 40.0)
delays = st.none() | seconds | st.just(math.inf)
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
def test_a_call_keeps_every_bound_that_the_policy_states(policy, exchanges, deadline):
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
    assert attempts <= policy.max_attempts
    assert retries == attempts - 1
    if policy.budget is not None:
        budget = policy.budget
        assert retries <= budget.per_second * (budget.window + now) + budget.ratio + 1e-6


@PROPERTY
@given(policies, results, jitter, st.integers(1, 100))
def test_what_a_policy_refuses_it_refuses_with_all_the_time_in_the_world(policy, result, random, attempt):
    """With time to spare, only the result and the number of attempts count."""
    delay = decided(policy, result, attempt=attempt, remaining=math.inf, random=random)
    fits = getattr(result, "retry_after", None) != math.inf
    assert decided(policy, result, attempt=attempt, remaining=-1.0, random=random) is None
    if delay is None:
        for remaining in (1.0, 1e9):
            assert decided(policy, result, attempt=attempt, remaining=remaining, random=random) is None
    else:
        assert fits
        assert decided(policy, result, attempt=attempt, remaining=delay, random=random) is None
        later = math.nextafter(delay, math.inf)
        assert decided(policy, result, attempt=attempt, remaining=later, random=random) == delay


@PROPERTY
@given(jitter, jitter, st.integers(1, 50))
def test_the_decision_is_a_function_of_its_arguments(one, other, attempt):
    policy = RetryPolicy(max_attempts=100)
    first = decided(policy, REFUSED, attempt=attempt, random=one)
    decided(policy, REFUSED, attempt=attempt, random=other)
    assert decided(policy, REFUSED, attempt=attempt, random=one) == first


def test_a_policy_is_frozen_hashable_and_pickles():
    policy = RetryPolicy(max_attempts=2, error_ids=[ErrorId.INVALID_NUMBER])
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        policy.retry_maybe_sent = True
    assert pickle.loads(pickle.dumps(policy)) == policy
    assert len({policy, RetryPolicy(max_attempts=2, error_ids={"INVALID_NUMBER"})}) == 1


# The policy's own settings


@each(
    ("setting", "value"),
    [
        *(("max_attempts", value) for value in (0, -1, 1.0, 2.5, math.inf, None, True, False, "4", [4])),
        *(
            (setting, value)
            for setting in ("base_delay", "max_delay")
            for value in (
                -0.001,
                -1,
                math.inf,
                -math.inf,
                math.nan,
                None,
                True,
                "1",
                b"1",
                timedelta(seconds=1),
            )
        ),
        ("error_ids", "INVALID_NUMBER"),
        ("error_ids", ErrorId.INVALID_NUMBER),
        ("error_ids", None),
        ("error_ids", 5),
        ("error_ids", b"INVALID_NUMBER"),
        ("error_ids", [None]),
        ("error_ids", [ErrorId.INVALID_NUMBER, 5]),
        ("budget", 0.2),
        ("budget", True),
        ("budget", RetryBudget),
        ("budget", {"per_second": 1}),
    ],
    ids=repr,
)
def test_a_setting_of_the_policy_that_is_wrong_is_refused_by_name(setting, value):
    with pytest.raises(InvalidConfiguration) as caught:
        RetryPolicy(**{setting: value})
    assert caught.value.setting == setting


@each("setting", ["per_second", "ratio", "window"])
@each("value", [-0.001, -1, math.inf, -math.inf, math.nan, None, True, "1", [1]], ids=repr)
def test_a_setting_of_the_budget_that_is_wrong_is_refused_by_name(setting, value):
    with pytest.raises(InvalidConfiguration) as caught:
        RetryBudget(**{setting: value})
    assert caught.value.setting == setting


@each("ids", [[], (), set(), frozenset({"X"}), ["X", "X"], {"X": 1}, iter(["X"]), ErrorId])
def test_error_ids_may_be_any_collection(ids):
    policy = RetryPolicy(error_ids=ids)
    assert isinstance(policy.error_ids, frozenset)
    assert all(isinstance(error_id, str) for error_id in policy.error_ids)


def test_zero_is_a_setting_like_any_other():
    RetryPolicy(base_delay=0, max_delay=0, budget=None)
    RetryBudget(per_second=0, ratio=0, window=0)


# The budget


def test_a_budget_starts_full_and_refills_by_the_second():
    account = RetryBudget(per_second=10.0, ratio=0.0, window=10.0).open(1000.0)
    assert sum(account.withdraw(1000.0) for _ in range(500)) == 100
    assert not account.withdraw(1000.05)
    assert account.withdraw(1000.15)
    assert not account.withdraw(1000.15)
    assert sum(account.withdraw(1001.5) for _ in range(500)) in (13, 14)
    assert sum(account.withdraw(9999.0) for _ in range(500)) == 100


def test_a_budget_earns_a_share_of_the_calls():
    account = RetryBudget(per_second=0, ratio=0.25).open(0.0)
    for _ in range(5):
        assert not account.withdraw(0.0)
        for _ in range(4):
            account.deposit()
        assert account.withdraw(0.0)


def test_what_calls_earn_is_capped_so_that_a_quiet_day_saves_up_no_storm():
    account = RetryBudget(per_second=1.0, ratio=1.0, window=5.0).open(0.0)
    for _ in range(1000):
        account.deposit()
    assert sum(account.withdraw(0.0) for _ in range(1000)) == 5


def test_a_budget_without_a_window_can_still_save_one_retry():
    account = RetryBudget(per_second=0.5, ratio=0, window=0).open(0.0)
    assert not account.withdraw(0.0)
    assert not account.withdraw(1.0)
    assert account.withdraw(2.0)
    assert not account.withdraw(2.0)
    assert account.withdraw(100.0)
    assert not account.withdraw(100.0)


def test_a_clock_that_stands_still_earns_nothing():
    account = RetryBudget(per_second=1.0, ratio=0, window=1.0).open(5.0)
    assert account.withdraw(5.0)
    assert not any(account.withdraw(5.0) for _ in range(100))


def test_two_accounts_of_one_budget_do_not_share():
    budget = RetryBudget(per_second=1.0, ratio=0, window=1.0)
    one, other = budget.open(0.0), budget.open(0.0)
    assert one.withdraw(0.0)
    assert not one.withdraw(0.0)
    assert other.withdraw(0.0)


# Each step: how much later, whether it is a call (or a retry), and how often.
schedules = st.lists(
    st.tuples(st.just(0.0) | st.floats(0.0, 4.0), st.booleans(), st.integers(1, 12)), min_size=1, max_size=30
)


@PROPERTY
@given(budgets, schedules, st.floats(0.0, 1e6))
def test_no_schedule_makes_more_retries_than_the_budget_states(budget, schedule, start):
    account = budget.open(start)
    now, calls, retries = start, 0, 0
    for later, is_call, times in schedule:
        now += later
        for _ in range(times):
            if is_call:
                account.deposit()
                calls += 1
            else:
                retries += account.withdraw(now)
            allowed = budget.per_second * (budget.window + now - start) + budget.ratio * calls
            assert retries <= allowed + 1e-6


@PROPERTY
@given(budgets, schedules)
def test_no_burst_is_larger_than_what_can_be_saved_up(budget, schedule):
    account = budget.open(0.0)
    now = 0.0
    for later, is_call, times in schedule:
        now += later
        if is_call:
            for _ in range(times):
                account.deposit()
        else:
            burst = sum(account.withdraw(now) for _ in range(times))
            assert burst <= max(1.0, budget.per_second * budget.window)


@PROPERTY
@given(schedules, st.floats(0.0, 100.0))
def test_a_budget_of_nothing_allows_no_retry_ever(schedule, window):
    account = RetryBudget(per_second=0, ratio=0, window=window).open(0.0)
    now = 0.0
    for later, is_call, times in schedule:
        now += later
        for _ in range(times):
            if is_call:
                account.deposit()
            assert not account.withdraw(now)


# Retry-After

MOMENT = datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)
DATES = {
    "IMF-fixdate": "Sun, 06 Nov 1994 08:49:37 GMT",
    "RFC 850": "Sunday, 06-Nov-94 08:49:37 GMT",
    "asctime": "Sun Nov  6 08:49:37 1994",
}


@each(
    ("text", "wait"),
    [("0", 0.0), ("1", 1.0), ("120", 120.0), ("007", 7.0), (" 5 ", 5.0), ("\t5", 5.0), ("9" * 15, 1e15 - 1)],
)
def test_digits_are_seconds(text, wait):
    assert parse_retry_after(text, now=1e9) == wait


@each("digits", [400, 5000, 100_000])
def test_an_absurd_number_of_seconds_never_fits(digits):
    wait = parse_retry_after("9" * digits, now=0.0)
    assert wait == math.inf
    assert decided(RetryPolicy(), attrs.evolve(REFUSED, retry_after=wait), remaining=1e300) is None


@each("text", DATES.values(), ids=DATES.keys())
def test_a_date_in_each_of_https_formats_is_the_time_until_then(text):
    now = MOMENT.timestamp()
    assert parse_retry_after(text, now=now - 90.5) == 90.5
    assert parse_retry_after(f"  {text} ", now=now - 1) == 1.0
    assert parse_retry_after(text, now=now) == 0.0
    assert parse_retry_after(text, now=now + 1e9) == 0.0


@each(
    "text",
    ["Sun, 06 Nov 1994 08:49:37 +0000", "Sun, 06 Nov 1994 08:49:37 -0000", "Sun, 06 Nov 1994 10:49:37 +0200"],
)
def test_a_numeric_zone_is_read_too(text):
    assert parse_retry_after(text, now=MOMENT.timestamp() - 10) == 10.0


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
@pytest.mark.parametrize("text", DATES.values(), ids=DATES.keys())
def test_a_date_is_in_utc_whatever_the_local_time_zone(set_zone, zone, text):
    set_zone(zone)
    assert parse_retry_after(text, now=MOMENT.timestamp() - 10) == 10.0


@each(("text", "wait"), [("60.0", 60.0), ("2.5", 3.0), ("0.0", 0.0), ("0.001", 1.0), ("5.", 5.0)], ids=str)
def test_retry_after_with_fraction_rounds_up(text, wait):
    assert parse_retry_after(text, now=0.0) == wait


LIST = [
    ("2, 2", 2.0),
    ("5, 6", 6.0),
    ("6,5", 6.0),
    (", 2,", 2.0),
    (f"2, {DATES['IMF-fixdate']}", 30.0),
    (f"{DATES['RFC 850']}, 45.5", 46.0),
    (f"{DATES['IMF-fixdate']}, {DATES['asctime']}", 30.0),
]


@each(("text", "wait"), LIST, ids=str)
def test_retry_after_list_means_the_longest_wait(text, wait):
    assert parse_retry_after(text, now=MOMENT.timestamp() - 30) == wait


def test_retry_after_absent_is_none():
    assert parse_retry_after(None, now=0.0) is None


@each(
    "text",
    [
        "",
        " ",
        "-1",
        "-0",
        "+5",
        "1e3",
        "0x10",
        "1_000",
        "5 5",
        "5, soon",
        ".5",
        "1.5s",
        "5s",
        "soon",
        "\u0663",
        "\u00b2",
        "\x00",
        ",",
        "Sun,",
        "GMT",
        "Sun, 06 Nov",
        "Sun, 32 Nov 1994 08:49:37 GMT",
        "Sun, 06 Xxx 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 25:49:37 GMT",
        "Sun, 06 Nov 99999999999 08:49:37 GMT",
        "Sun, 06 Nov " + "9" * 5000 + " 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 -" + "9" * 30,
        "1994-11-06T08:49:37Z",
        "inf",
        "nan",
    ],
    ids=lambda text: ascii(text)[:40],
)
def test_retry_after_unreadable_means_no_retry(text):
    wait = parse_retry_after(text, now=0.0)
    assert wait == math.inf
    assert decided(RetryPolicy(), attrs.evolve(REFUSED, retry_after=wait), remaining=1e300) is None


@PROPERTY
@given(
    st.text(max_size=40)
    | st.text("0123456789 :,-+SunovGMT", max_size=40)
    | st.lists(
        st.sampled_from(["Sun,", "06", "Nov", "1994", "08:49:37", "GMT", "+0200", "-", ":", "99", "0", "am"]),
        max_size=8,
    ).map(" ".join),
    st.floats(-1e10, 1e10),
)
def test_no_header_makes_the_parser_raise_or_go_back_in_time(text, now):
    wait = parse_retry_after(text, now=now)
    assert wait is None or wait >= 0.0


@PROPERTY
@given(st.datetimes(datetime(2000, 1, 1), datetime(2068, 1, 1)), st.integers(0, 10**9))
def test_a_formatted_date_is_read_back_to_the_second(moment, before):
    moment = moment.replace(microsecond=0, tzinfo=UTC)
    text = format_datetime(moment, usegmt=True)
    assert parse_retry_after(text, now=moment.timestamp() - before) == before


def test_a_policy_shows_its_settings_and_so_does_one_that_was_refused():
    assert "max_attempts=4" in repr(RetryPolicy())
    with pytest.raises(InvalidConfiguration) as caught:
        RetryPolicy(error_ids=3)
    lines = traceback.TracebackException.from_exception(caught.value, capture_locals=True).format()
    assert "RetryPolicy(max_attempts=4" in "".join(lines)


@each("value", ["no", "", 0, 1, None], ids=repr)
def test_whether_to_repeat_what_may_have_been_sent_is_a_bool_and_nothing_else(value):
    """A "no" out of a configuration file is true, and would turn on the second SMS."""
    with pytest.raises(InvalidConfiguration) as caught:
        RetryPolicy(retry_maybe_sent=value)
    assert caught.value.setting == "retry_maybe_sent"
