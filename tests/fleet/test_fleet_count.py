"""The closing count: what does not add up is said, and by which number."""

from __future__ import annotations

import pytest

from gateway360_async import (
    BatchItem,
    Disposition,
    FailureKind,
    Ok,
    PinRequest,
    Skipped,
    SkipReason,
    TransportFailure,
)
from gateway360_async.cli._fleet_count import Account

MAYBE = TransportFailure(FailureKind.INTERRUPTED, Disposition.MAYBE_SENT)
NOT = TransportFailure(FailureKind.CONNECT, Disposition.NOT_SENT)


def number(index):
    return f"346000001{index:02}"


def item(index, result, request=0):
    return BatchItem(index, PinRequest(number(request or index), "X"), result, source=None)


def closed(items, sms, entries=None):
    account = Account()
    for one in items:
        account.add(one)
    return account.close(len(items) if entries is None else entries, sms)


def test_what_adds_up_holds():
    items = [
        item(0, Ok()),
        item(1, MAYBE),
        item(2, MAYBE),
        item(3, NOT),
        BatchItem(4, None, Skipped(SkipReason.INVALID), source="?"),
        item(5, Skipped(SkipReason.DUPLICATE), request=1),
    ]
    found = closed(items, {number(0): 1, number(1): 1})
    assert found.holds
    assert (found.entries, found.skipped, found.sms, found.of_maybe_sent, found.most) == (6, 2, 2, 1, 1)
    assert found.by_disposition == {
        Disposition.SENT: 1,
        Disposition.MAYBE_SENT: 2,
        Disposition.NOT_SENT: 3,
    }


def test_nothing_at_all_holds():
    assert closed([], {}).holds


@pytest.mark.parametrize(
    ("items", "sms", "entries", "problem"),
    [
        ([item(0, Ok())], {number(0): 2}, 1, "1 numbers with more than one SMS: 34*****100"),
        ([item(0, MAYBE)], {number(0): 2}, 1, "1 numbers with more than one SMS: 34*****100"),
        ([item(0, Ok())], {}, 1, "1 numbers that are said to be sent, without an SMS: 34*****100"),
        ([item(0, NOT)], {number(0): 1}, 1, "1 numbers that are said to be not sent, with an SMS: 34*****100"),
        ([], {number(0): 1}, 0, "1 numbers with an SMS that nobody asked for: 34*****100"),
        ([item(0, NOT)], {}, 2, "1 entries of which nothing was said: entry 1"),
        ([item(0, NOT), item(0, NOT)], {}, 1, "1 entries of which it was said twice: entry 0"),
        (
            [item(0, Ok(), 7), item(1, MAYBE, 7)],
            {number(7): 1},
            2,
            "1 numbers with two entries that were not skipped: 34*****107",
        ),
    ],
)  # fmt: skip
def test_what_does_not_add_up_is_said(items, sms, entries, problem):
    found = closed(items, sms, entries)
    assert problem in found.problems
    assert not found.holds


def test_only_the_first_are_named():
    (problem,) = closed([], {}, entries=1000).problems
    assert problem == (
        "1,000 entries of which nothing was said: entry 0, entry 1, entry 2, entry 3, entry 4, …"
    )
