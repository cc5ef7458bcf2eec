"""The cooldown's memory: what it keeps, for how long, and what it never keeps."""

from __future__ import annotations

import pytest

from gateway360_async import ApiError, Disposition, ErrorId, FailureKind, Ok, TransportFailure
from gateway360_async._cooldown import Cooldown

A, B = "34600000001", "34600000002"
LOST = TransportFailure(FailureKind.TIMEOUT, Disposition.MAYBE_SENT)


def test_a_result_stands_for_its_number_until_the_cooldown_is_over():
    cooldown = Cooldown(60.0)
    assert cooldown.earlier(A, 0.0) is None
    cooldown.note(A, Ok(2, 0.5), 10.0)
    assert cooldown.earlier(A, 69.9) == Ok(2, 0.5, replayed=True)
    assert cooldown.earlier(B, 69.9) is None
    assert cooldown.earlier(A, 70.0) is None


@pytest.mark.parametrize(
    "result", [Ok(), LOST, ApiError(ErrorId.UNKNOWN_ERROR)], ids=lambda r: type(r).__name__
)
def test_what_may_have_been_sent_stands_too(result):
    cooldown = Cooldown(60.0)
    cooldown.note(A, result, 0.0)
    earlier = cooldown.earlier(A, 1.0)
    assert earlier is not None
    assert earlier.replayed
    assert earlier.disposition is result.disposition


@pytest.mark.parametrize(
    "result",
    [ApiError(ErrorId.INVALID_NUMBER), TransportFailure(FailureKind.CONNECT, Disposition.NOT_SENT)],
    ids=["refused", "no connection"],
)
def test_what_was_not_sent_keeps_nobody_from_trying_again(result):
    cooldown = Cooldown(60.0)
    cooldown.note(A, result, 0.0)
    assert cooldown.earlier(A, 1.0) is None


def test_a_later_result_takes_the_place_of_an_earlier_and_a_repeated_one_extends_nothing():
    cooldown = Cooldown(60.0)
    cooldown.note(A, Ok(1), 0.0)
    cooldown.note(B, Ok(1), 1.0)
    cooldown.note(A, Ok(2), 30.0)
    replayed = cooldown.earlier(A, 61.0)
    assert replayed == Ok(2, replayed=True)
    cooldown.note(A, replayed, 61.0)
    assert cooldown.earlier(B, 61.0) is None
    assert cooldown.earlier(A, 90.0) is None


def test_memory_ends_with_the_cooldown():
    cooldown = Cooldown(1.0)
    for second in range(1000):
        cooldown.note(str(34600000000 + second), Ok(), float(second))
    assert len(cooldown._recent) == 1


@pytest.mark.parametrize(
    "result", [Ok(), LOST, ApiError(ErrorId.UNKNOWN_ERROR)], ids=lambda r: type(r).__name__
)
def test_a_repeated_result_says_so(result):
    cooldown = Cooldown(60.0)
    cooldown.note(A, result, 0.0)
    assert "by an earlier call" in str(cooldown.earlier(A, 1.0))
    assert "earlier call" not in str(result)
