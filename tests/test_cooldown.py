"""The cooldown's memory: what it keeps, for how long, and what it never keeps."""

from __future__ import annotations

from support.cases import each

from gateway360_async import ApiError, Disposition, ErrorId, FailureKind, Ok, TransportFailure
from gateway360_async._guard import Cooldown

A, B = "34600000001", "34600000002"
MAYBE = [
    Ok(2, 0.5),
    TransportFailure(FailureKind.TIMEOUT, Disposition.MAYBE_SENT),
    ApiError(ErrorId.UNKNOWN_ERROR),
]
NOT_SENT = [ApiError(ErrorId.INVALID_NUMBER), TransportFailure(FailureKind.CONNECT, Disposition.NOT_SENT)]


@each("result", MAYBE)
def test_result_that_may_be_sent_stands_until_the_end(result):
    cooldown = Cooldown(60.0)
    assert cooldown.earlier(A, 0.0) is None
    cooldown.note(A, result, 10.0)
    earlier = cooldown.earlier(A, 69.9)
    assert earlier.replayed
    assert earlier.disposition is result.disposition
    assert "by an earlier call" in str(earlier)
    assert "earlier call" not in str(result)
    assert cooldown.earlier(B, 69.9) is None
    assert cooldown.earlier(A, 70.0) is None


@each("result", NOT_SENT)
def test_result_that_was_not_sent_is_not_kept(result):
    cooldown = Cooldown(60.0)
    cooldown.note(A, result, 0.0)
    assert cooldown.earlier(A, 1.0) is None


def test_later_result_takes_the_place_but_no_replayed_one():
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
