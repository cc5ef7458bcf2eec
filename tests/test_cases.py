"""`each` fails when a case fails, and says which."""

import asyncio
import time

import pytest
from support.cases import each


def refuses(number):
    with pytest.raises(ValueError, match="too many"):
        if number:
            assert number > 0
            raise ValueError("too many")


def test_each_with_one_failing_case_raises_its_named_error():
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE") as caught:
        each("number", [0, 1, 2], ids=["none", "one", "two"])(refuses)()
    assert caught.value.__notes__ == ["Case none"]


@pytest.mark.timeout(0.2, method="signal")
def test_each_with_a_case_that_hangs_runs_no_other():
    ran = []

    def hangs(number):
        ran.append(number)
        time.sleep(60)

    with pytest.raises(pytest.fail.Exception, match="pytest-timeout"):
        each("number", [0, 1])(hangs)()
    assert ran == [0]


async def test_each_of_coroutine_awaits_every_case():
    async def check(number):
        await asyncio.sleep(0)
        refuses(number)

    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE") as caught:
        await each("number", [1, 0, 2])(check)()
    assert caught.value.__notes__ == ["Case 0"]


def test_each_with_several_failing_cases_raises_all_errors():
    check = each("number", [0, -1, 2])(lambda number, unit: refuses(number))
    with pytest.raises(BaseExceptionGroup, match="2 of 2 cases fail") as caught:
        each("unit", ["s", "ms"])(check)()
    for error, unit in zip(caught.value.exceptions, ["'s'", "'ms'"], strict=True):
        assert error.__notes__ == [f"Case {unit}"]
        assert [inner.__notes__ for inner in error.exceptions] == [["Case 0"], ["Case -1"]]


def test_each_of_each_runs_all_pairs():
    seen = []
    each("left", "ab")(
        each("right, more", [(1, 2), (3, 4)])(lambda left, right, more: seen.append((left, right)))
    )()
    assert seen == [("a", 1), ("a", 3), ("b", 1), ("b", 3)]


def test_each_leaves_fixtures_to_pytest():
    given = []
    each("value", "ab")(lambda value, tmp_path: given.append((value, tmp_path)))(tmp_path=1)
    assert given == [("a", 1), ("b", 1)]


@pytest.mark.parametrize(("values", "ids"), [([], repr), ([1, 2], ["one"])], ids=["none", "too few names"])
def test_each_without_a_case_or_a_name_is_refused(values, ids):
    with pytest.raises(AssertionError):
        each("value", values, ids)
