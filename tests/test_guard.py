"""The spend guard is pure: times that are handed in prove every limit that it states."""

import pickle
import traceback

import attrs
import pytest
from support.cases import each

from gateway360_async import (
    ApiError,
    Disposition,
    FailureKind,
    InvalidConfiguration,
    Ok,
    RetryPolicy,
    SpendGuard,
)
from gateway360_async import TransportFailure as Failure
from gateway360_async._guard import Admission, Refusal, may_be_an_sms, reached_gateway

SPAIN, PORTUGAL, JAMAICA, NEW_YORK = "34666666111", "351911111111", "18765550100", "12125550100"
REFUSALS = [
    FailureKind.REGION_NOT_ALLOWED,
    FailureKind.PREFIX_NOT_ALLOWED,
    FailureKind.ATTEMPT_LIMIT,
    FailureKind.ATTEMPT_LIMIT,
    FailureKind.NUMBER_LIMIT,
    FailureKind.PREFIX_LIMIT,
    FailureKind.CLIENT_LIMIT,
    FailureKind.TOTAL_LIMIT,
]


def asked(account, number=SPAIN, now=0.0):
    """Give the refusal's kind, or `None` for an admission."""
    answer = account.admit(number, now)
    return answer.kind if isinstance(answer, Refusal) else None


# Prefixes


def test_guard_that_says_nothing_admits_everything():
    account = SpendGuard().open()
    assert {asked(account, number, float(now)) for number in (SPAIN, JAMAICA) for now in range(100)} == {None}


@each(
    ("number", "allowed"),
    [(SPAIN, True), (PORTUGAL, True), (NEW_YORK, False), (JAMAICA, True), ("33612345678", False)],
)
def test_number_has_to_begin_with_an_allowed_prefix(number, allowed):
    account = SpendGuard(allowed_prefixes={"+34", "351", "1876"}).open()
    assert asked(account, number) is (None if allowed else FailureKind.PREFIX_NOT_ALLOWED)


def test_number_counts_for_its_longest_prefix():
    account = SpendGuard(allowed_prefixes={"1", "1876"}, per_prefix=1).open()
    assert asked(account, JAMAICA) is None
    assert asked(account, JAMAICA) is FailureKind.PREFIX_LIMIT
    assert asked(account, NEW_YORK) is None
    assert asked(account, NEW_YORK) is FailureKind.PREFIX_LIMIT


@each("written", [["34", "+351"], ("34", "351", "+34"), {"34": 1, "351": 2}, iter(["34", "351"])])
def test_prefixes_may_come_in_any_collection(written):
    assert SpendGuard(allowed_prefixes=written).allowed_prefixes == frozenset({"34", "351"})


# The limits


def kinds(account, *asks):
    """Ask for requests, each a number or a time, and give the refusals' kinds."""
    return [asked(account, ask) if isinstance(ask, str) else asked(account, now=float(ask)) for ask in asks]


def test_limit_in_a_sliding_window_ends_with_its_last_second():
    account = SpendGuard(per_client=2, window=10).open()
    limit = FailureKind.CLIENT_LIMIT
    assert kinds(account, 0, 9, 9.875, 10, 18.875, 19) == [None, None, limit, None, limit, None]


def test_total_never_comes_back():
    account = SpendGuard(total=2, window=1).open()
    assert kinds(account, 0, 1e6, 2e6, 3e6) == [None, None, *[FailureKind.TOTAL_LIMIT] * 2]


def test_checks_come_in_their_order():
    limits = ("attempts_per_number", "attempts", "per_number", "per_prefix", "per_client", "total")
    settings = {"allowed_regions": ["ES"], "allowed_prefixes": ["346"], **dict.fromkeys(limits, 0)}
    expected = list(REFUSALS)
    for setting in list(settings):
        number = SPAIN if setting in limits else PORTUGAL
        assert asked(SpendGuard(**settings).open(), number) is expected.pop(0)
        del settings[setting]
    assert expected == []


LIMITS = {
    "per_number": FailureKind.NUMBER_LIMIT,
    "per_prefix": FailureKind.PREFIX_LIMIT,
    "per_client": FailureKind.CLIENT_LIMIT,
    "total": FailureKind.TOTAL_LIMIT,
    "attempts_per_number": FailureKind.ATTEMPT_LIMIT,
    "attempts": FailureKind.ATTEMPT_LIMIT,
}


@each(("limit", "kind"), LIMITS.items())
def test_limit_of_n_admits_n_and_counts_its_own_scope(limit, kind):
    assert kinds(SpendGuard(**{limit: 0}).open(), 0, 1e9) == [kind] * 2
    account = SpendGuard(**{limit: 2}).open()
    apart = limit in ("per_number", "per_prefix", "attempts_per_number")
    assert kinds(account, SPAIN, SPAIN, SPAIN, PORTUGAL) == [None, None, kind, None if apart else kind]


def test_refusal_of_one_limit_counts_for_no_other():
    account = SpendGuard(per_prefix=1, per_client=2, total=2).open()
    assert [asked(account) for _ in range(5)] == [None] + [FailureKind.PREFIX_LIMIT] * 4
    assert asked(account, PORTUGAL) is None


def test_account_of_a_guard_is_one_clients():
    guard = SpendGuard(total=1)
    assert asked(guard.open()) is asked(guard.open()) is None


# Giving back, and attempts


def test_request_given_back_makes_room_once_in_all_counts():
    account = SpendGuard(per_prefix=2, per_client=2, total=2).open()
    first, _ = account.admit(SPAIN, 0.0), account.admit(SPAIN, 0.0)
    assert asked(account) is FailureKind.PREFIX_LIMIT
    account.give_back(first)
    account.give_back(first)
    assert [asked(account), asked(account)] == [None, FailureKind.PREFIX_LIMIT]


def test_request_given_back_after_its_window_counts_in_the_total():
    account = SpendGuard(per_client=1, total=2, window=10).open()
    first = account.admit(SPAIN, 0.0)
    assert asked(account, now=10.0) is None
    account.give_back(first)
    assert kinds(account, 11, 20, 30) == [FailureKind.CLIENT_LIMIT, None, FailureKind.TOTAL_LIMIT]


@each(("limit", "kind"), LIMITS.items())
def test_request_that_failed_its_lookup_is_an_attempt_alone(limit, kind):
    account = SpendGuard(**{limit: 1}, window=10).open()
    for _ in range(3):
        answer = account.admit(SPAIN, 0.0)
        if isinstance(answer, Admission):
            account.give_back(answer, attempted=True)
    of_sms = kind is not FailureKind.ATTEMPT_LIMIT
    assert [asked(account), asked(account)] == [None if of_sms else kind, kind]
    if limit != "total":
        assert asked(account, now=10.0) is None


def test_request_that_never_reached_the_gateway_is_no_attempt():
    account = SpendGuard(attempts=1, attempts_per_number=1).open()
    for _ in range(3):
        account.give_back(account.admit(SPAIN, 0.0))
    assert [asked(account), asked(account)] == [None, FailureKind.ATTEMPT_LIMIT]


@each(
    ("result", "reached", "sms"),
    [
        (Ok(), True, True),
        (ApiError("INVALID_NUMBER"), True, False),
        (Failure(FailureKind.CONNECT, Disposition.NOT_SENT), False, False),
        (Failure(FailureKind.TIMEOUT, Disposition.MAYBE_SENT), True, True),
    ],
    ids=str,
)
def test_result_counts_by_what_reached_the_gateway(result, reached, sms):
    assert (reached_gateway(result), may_be_an_sms(result)) == (reached, sms)


# Regions

GUERNSEY, CANADA = "447911123456", "14165550100"


@each(
    ("number", "allowed"),
    [
        (SPAIN, True),
        (NEW_YORK, True),
        (PORTUGAL, False),
        (JAMAICA, False),
        (CANADA, False),
        (GUERNSEY, False),
        ("447400123456", True),
        ("15550100000", False),  # no region has it
        ("9991234567", False),  # nor any calling code
        ("883510000000094", False),  # a calling code of no region
    ],
)
def test_number_has_to_be_of_an_allowed_region(number, allowed):
    account = SpendGuard(allowed_regions={"ES", "us", "GB"}).open()
    assert asked(account, number) is (None if allowed else FailureKind.REGION_NOT_ALLOWED)


def test_regions_and_prefixes_hold_together():
    account = SpendGuard(allowed_regions={"US", "ES"}, allowed_prefixes={"1"}).open()
    assert asked(account, NEW_YORK) is None
    assert asked(account, SPAIN) is FailureKind.PREFIX_NOT_ALLOWED
    assert asked(account, JAMAICA) is FailureKind.REGION_NOT_ALLOWED


def test_region_refusal_names_the_regions():
    refusal = SpendGuard(allowed_regions=["PT", "ES"]).open().admit(GUERNSEY, 0.0)
    assert refusal.detail == "a number of +44 of GG, and the guard allows ES, PT alone"


@each(
    ("written", "meant"),
    [("UK", "'GB'"), ("EL", "'GR'"), ("34", "'ES'"), ("+351", "'PT'"), (" es ", "'ES'"), ("+1", "'US'")],
)
def test_region_that_is_meant_is_suggested(written, meant):
    with pytest.raises(InvalidConfiguration, match=f"did you mean {meant}\\?") as caught:
        SpendGuard(allowed_regions={written})
    assert caught.value.setting == "allowed_regions"


# Memory


def kept(account):
    """Give how many admissions each limit keeps."""
    return [len(count.recent) for count in account._counts]


def test_refused_walk_through_numbers_keeps_nothing():
    account = SpendGuard(allowed_prefixes=["34"], per_prefix=1).open()
    for number in range(10_000):
        account.admit(f"882{number:07}", 0.0)
    assert kept(account) == [0]


def test_prefix_takes_no_memory_when_its_window_is_empty():
    account = SpendGuard(per_prefix=1, window=10).open()
    (limit,) = account._counts
    for first in range(100, 1000):
        account.admit(f"{first}0000000", 0.0)
    assert len(limit.by_scope) == len(limit.recent) > 200
    assert asked(account, now=10.0) is None
    assert list(limit.by_scope) == ["34"]


def test_request_given_back_is_forgotten_at_once():
    account = SpendGuard(per_client=5, per_number=5).open()
    account.admit(SPAIN, 0.0)  # the oldest, which stays
    for _ in range(1000):
        account.give_back(account.admit(PORTUGAL, 1.0))
    assert kept(account) == [1, 1]
    assert list(account._counts[0].by_scope) == [SPAIN]


def test_total_alone_keeps_one_number():
    account = SpendGuard(total=10**6).open()
    for _ in range(1000):
        account.admit(SPAIN, 0.0)
    assert kept(account) == [0]


# Texts and settings


def test_guard_text_holds_no_whole_number():
    guard = SpendGuard(allowed_prefixes=["351", SPAIN], per_prefix=1, total=1)
    account = guard.open()
    said = [account.admit(number, 0.0) for number in (SPAIN, SPAIN, PORTUGAL, NEW_YORK)]
    shown = f"{guard!r} {said!r} {said}"
    assert not any(number in shown for number in (SPAIN, PORTUGAL, NEW_YORK))
    assert "allowed_prefixes={+34*****111, +351}" in shown
    assert "numbers of +34*****111 have had their 1 SMS within 3600 s" in shown
    assert "a number of +1 that begins with none" in shown


def test_refusal_is_no_failure_that_a_policy_repeats():
    for kind in REFUSALS:
        failure = Failure(kind, Disposition.NOT_SENT, detail="refused")
        policy = RetryPolicy(retry_maybe_sent=True)
        assert policy.decide(failure, attempt=1, remaining=30.0, random=lambda: 0.0) is None


def test_guard_is_frozen_hashable_and_pickles():
    guard = SpendGuard(allowed_prefixes={"34"}, per_prefix=1, per_client=2, window=3.0, total=4)
    assert pickle.loads(pickle.dumps(guard)) == guard
    assert hash(guard) == hash(attrs.evolve(guard))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        guard.total = 5
    with pytest.raises(TypeError):
        SpendGuard({"34"})


def test_guard_shows_its_defaults():
    assert repr(SpendGuard()) == (
        "SpendGuard(allowed_prefixes=None, allowed_regions=None, per_number=None, per_prefix=None, per_client=None, "
        "attempts_per_number=None, attempts=None, window=3600.0, total=None)"
    )


@each(
    ("setting", "values"),
    [
        ("allowed_prefixes", ["34", b"34", 34, [], [34], [b"34"], [""], ["+"], ["++34"], ["3 4"], [" 34"]]),
        (
            "allowed_prefixes",
            [["034"], ["0034"], ["3a"], ["\u0663\u0664"], ["\u00b2"], ["1" * 16], ["34", None]],
        ),
        (
            "allowed_regions",
            ["ES", b"ES", 34, [], [34], [b"ES"], [""], ["XX"], ["ESP"], ["Spain"], ["ES", None]],
        ),
        ("allowed_regions", [["\u0415S"], ["E S"], ["001"], ["ZZ"], ["E" * 99]]),
        ("per_number", [-1, 1.0, True]),
        ("attempts_per_number", [-1, 1.0, True]),
        ("attempts", [-1, 1.0, True]),
        ("per_prefix", [-1, 1.0, True, "1", float("inf")]),
        ("per_client", [-1, 1.0, False, "1", []]),
        ("total", [-1, 2.5, True, "1"]),
        ("window", [0, 0.0, -1.0, float("inf"), float("nan"), 10**400, True, "60", None]),
    ],
)
def test_setting_that_is_wrong_is_refused_by_name(setting, values):
    for value in values:
        with pytest.raises(InvalidConfiguration) as caught:
            SpendGuard(**{setting: value})
        assert caught.value.setting == setting
        # The half-built guard below can be shown: a crash report asks for its `repr`.
        traceback.TracebackException.from_exception(caught.value, capture_locals=True)


def test_prefix_that_is_wrong_is_not_echoed():
    with pytest.raises(InvalidConfiguration) as caught:
        SpendGuard(allowed_prefixes=["34", "34 666 666 111"])
    assert "666" not in str(caught.value)
