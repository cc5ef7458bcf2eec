"""The spend guard is pure: times that are handed in prove every ceiling that it states."""

import pickle
import traceback

import attrs
import pytest

from gateway360_async import Disposition, FailureKind, InvalidConfiguration, RetryPolicy, SpendGuard
from gateway360_async import TransportFailure as Failure
from gateway360_async._guard import Admission, Refusal, calling_code

SPAIN, PORTUGAL, JAMAICA, NEW_YORK = "34666666111", "351911111111", "18765550100", "12125550100"
REFUSALS = [
    FailureKind.PREFIX_NOT_ALLOWED,
    FailureKind.PREFIX_CEILING,
    FailureKind.CLIENT_CEILING,
    FailureKind.TOTAL_CEILING,
]


def asked(account, number=SPAIN, now=0.0):
    """Give the refusal's kind, or `None` for an admission."""
    answer = account.admit(number, now)
    return answer.kind if isinstance(answer, Refusal) else None


# Country calling codes


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (NEW_YORK, "1"),
        (JAMAICA, "1"),
        ("79161234567", "7"),
        ("77011234567", "7"),
        ("201001234567", "20"),
        (SPAIN, "34"),
        ("447700900123", "44"),
        ("8613812345678", "86"),
        (PORTUGAL, "351"),
        ("212612345678", "212"),
        ("280123456", "280"),  # a spare zone
        ("8821234567", "882"),
        ("9991234567", "999"),
    ],
)
def test_a_number_begins_with_its_country_calling_code(number, code):
    assert calling_code(number) == code


def test_no_calling_code_begins_with_another():
    codes = {calling_code(f"{first}0000") for first in range(100, 1000)}
    assert not any(one != other and one.startswith(other) for one in codes for other in codes)
    assert len(codes) == 2 + 44 + (
        900 - 200 - 440
    )  # two zones, 44 codes of two digits, and the rest of three


# Where requests may go


def test_a_guard_that_says_nothing_admits_everything():
    account = SpendGuard().open()
    assert {asked(account, number, float(now)) for number in (SPAIN, JAMAICA) for now in range(100)} == {None}


@pytest.mark.parametrize(
    ("number", "allowed"),
    [(SPAIN, True), (PORTUGAL, True), (NEW_YORK, False), (JAMAICA, True), ("33612345678", False)],
)
def test_a_number_has_to_begin_with_an_allowed_prefix(number, allowed):
    account = SpendGuard(allowed_prefixes={"+34", "351", "1876"}).open()
    assert asked(account, number) is (None if allowed else FailureKind.PREFIX_NOT_ALLOWED)


def test_a_number_counts_for_the_longest_prefix_that_it_begins_with():
    account = SpendGuard(allowed_prefixes={"1", "1876"}, per_prefix=1).open()
    assert asked(account, JAMAICA) is None
    assert asked(account, JAMAICA) is FailureKind.PREFIX_CEILING
    assert asked(account, NEW_YORK) is None
    assert asked(account, NEW_YORK) is FailureKind.PREFIX_CEILING


@pytest.mark.parametrize(
    "written", [["34", "+351"], ("34", "351", "+34"), {"34": 1, "351": 2}, iter(["34", "351"])]
)
def test_prefixes_may_come_in_any_collection(written):
    assert SpendGuard(allowed_prefixes=written).allowed_prefixes == frozenset({"34", "351"})


# The ceilings


def test_each_prefix_has_a_ceiling_of_its_own():
    account = SpendGuard(per_prefix=2).open()
    assert [asked(account) for _ in range(3)] == [None, None, FailureKind.PREFIX_CEILING]
    assert asked(account, PORTUGAL) is None


def test_the_window_slides_and_ends_with_the_second_that_it_is_long():
    account = SpendGuard(per_client=2, window=10).open()
    assert asked(account, now=0.0) is None
    assert asked(account, now=9.0) is None
    assert asked(account, now=9.875) is FailureKind.CLIENT_CEILING
    assert asked(account, now=10.0) is None  # the first one's place
    assert asked(account, now=18.875) is FailureKind.CLIENT_CEILING
    assert asked(account, now=19.0) is None


def test_the_total_never_comes_back():
    account = SpendGuard(total=2, window=1).open()
    kinds = [asked(account, now=1e6 * hour) for hour in range(4)]
    assert kinds == [None, None, FailureKind.TOTAL_CEILING, FailureKind.TOTAL_CEILING]


def test_the_checks_come_in_their_order():
    settings = {"allowed_prefixes": ["34"], "per_prefix": 0, "per_client": 0, "total": 0}
    expected = list(REFUSALS)
    number = PORTUGAL
    while settings:
        assert asked(SpendGuard(**settings).open(), number) is expected.pop(0)
        settings.pop(next(iter(settings)))
        number = SPAIN
    assert expected == []


@pytest.mark.parametrize("ceiling", ["per_prefix", "per_client", "total"])
def test_a_ceiling_of_zero_admits_nothing(ceiling):
    account = SpendGuard(**{ceiling: 0}).open()
    assert {asked(account, now=now) for now in (0.0, 1e9)} == {
        FailureKind(ceiling.removeprefix("per_") + "_ceiling")
    }


def test_what_one_ceiling_refuses_counts_for_no_other():
    account = SpendGuard(per_prefix=1, per_client=2, total=2).open()
    assert [asked(account) for _ in range(5)] == [None] + [FailureKind.PREFIX_CEILING] * 4
    assert asked(account, PORTUGAL) is None


def test_two_accounts_of_one_guard_do_not_share():
    guard = SpendGuard(total=1)
    assert asked(guard.open()) is asked(guard.open()) is None


# Giving back


def test_what_is_given_back_makes_room_in_all_counts():
    account = SpendGuard(per_prefix=1, per_client=1, total=1).open()
    admission = account.admit(SPAIN, 0.0)
    assert isinstance(admission, Admission)
    assert asked(account) is FailureKind.PREFIX_CEILING
    account.give_back(admission)
    assert asked(account) is None
    assert asked(account) is FailureKind.PREFIX_CEILING


def test_giving_back_twice_takes_one_count_back():
    account = SpendGuard(total=2).open()
    first, _ = account.admit(SPAIN, 0.0), account.admit(SPAIN, 0.0)
    account.give_back(first)
    account.give_back(first)
    assert [asked(account), asked(account)] == [None, FailureKind.TOTAL_CEILING]


def test_what_is_given_back_after_its_window_makes_room_in_the_total_only():
    account = SpendGuard(per_client=1, total=2, window=10).open()
    first = account.admit(SPAIN, 0.0)
    assert asked(account, now=10.0) is None
    account.give_back(first)
    assert asked(account, now=11.0) is FailureKind.CLIENT_CEILING
    assert asked(account, now=20.0) is None
    assert asked(account, now=30.0) is FailureKind.TOTAL_CEILING


# What is kept


def test_a_refused_walk_through_numbers_keeps_nothing():
    account = SpendGuard(allowed_prefixes=["34"], per_prefix=1).open()
    for number in range(10_000):
        account.admit(f"882{number:07}", 0.0)
    assert not account._recent
    assert not account._by_prefix


def test_a_prefix_takes_no_memory_when_its_window_is_empty_whoever_asks_next():
    account = SpendGuard(per_prefix=1, window=10).open()
    for first in range(100, 1000):
        account.admit(f"{first}0000000", 0.0)
    assert len(account._by_prefix) == len(account._recent) == 2 + 44 + 260
    assert asked(account, now=10.0) is None
    assert list(account._by_prefix) == ["34"]


def test_what_was_given_back_is_forgotten_at_once():
    account = SpendGuard(per_client=5).open()
    account.admit(SPAIN, 0.0)  # the oldest, which stays
    for _ in range(1000):
        account.give_back(account.admit(PORTUGAL, 1.0))
    assert len(account._recent) == 1
    assert list(account._by_prefix) == ["34"]


def test_a_total_alone_keeps_one_number():
    account = SpendGuard(total=10**6).open()
    for _ in range(1000):
        account.admit(SPAIN, 0.0)
    assert not account._recent


# What is said


def test_no_text_holds_a_whole_number():
    guard = SpendGuard(allowed_prefixes=["351", SPAIN], per_prefix=1, total=1)
    account = guard.open()
    said = [account.admit(number, 0.0) for number in (SPAIN, SPAIN, PORTUGAL, NEW_YORK)]
    shown = f"{guard!r} {said!r} {said}"
    assert not any(number in shown for number in (SPAIN, PORTUGAL, NEW_YORK))
    assert "allowed_prefixes={+34*****111, +351}" in shown
    assert "numbers of +34*****111 have had their 1 requests within 3600 s" in shown
    assert "a number of +1 that begins with none" in shown


def test_a_refusal_is_no_failure_that_a_policy_repeats():
    for kind in REFUSALS:
        failure = Failure(kind, Disposition.NOT_SENT, detail="refused")
        policy = RetryPolicy(retry_maybe_sent=True)
        assert policy.decide(failure, attempt=1, remaining=30.0, random=lambda: 0.0) is None


def test_a_guard_is_frozen_hashable_and_pickles():
    guard = SpendGuard(allowed_prefixes={"34"}, per_prefix=1, per_client=2, window=3.0, total=4)
    assert pickle.loads(pickle.dumps(guard)) == guard
    assert hash(guard) == hash(attrs.evolve(guard))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        guard.total = 5
    with pytest.raises(TypeError):
        SpendGuard({"34"})


def test_the_defaults_guard_nothing():
    assert repr(SpendGuard()) == (
        "SpendGuard(allowed_prefixes=None, per_prefix=None, per_client=None, window=3600.0, total=None)"
    )


@pytest.mark.parametrize(
    ("setting", "values"),
    [
        ("allowed_prefixes", ["34", b"34", 34, [], [34], [b"34"], [""], ["+"], ["++34"], ["3 4"], [" 34"]]),
        (
            "allowed_prefixes",
            [["034"], ["0034"], ["3a"], ["\u0663\u0664"], ["\u00b2"], ["1" * 16], ["34", None]],
        ),
        ("per_prefix", [-1, 1.0, True, "1", float("inf")]),
        ("per_client", [-1, 1.0, False, "1", []]),
        ("total", [-1, 2.5, True, "1"]),
        ("window", [0, 0.0, -1.0, float("inf"), float("nan"), 10**400, True, "60", None]),
    ],
)
def test_a_setting_that_is_wrong_is_refused_by_name(setting, values):
    for value in values:
        with pytest.raises(InvalidConfiguration) as caught:
            SpendGuard(**{setting: value})
        assert caught.value.setting == setting
        # The half-built guard below can be shown: a crash report asks for its `repr`.
        traceback.TracebackException.from_exception(caught.value, capture_locals=True)


def test_a_wrong_prefix_is_not_echoed():
    with pytest.raises(InvalidConfiguration) as caught:
        SpendGuard(allowed_prefixes=["34", "34 666 666 111"])
    assert "666" not in str(caught.value)
