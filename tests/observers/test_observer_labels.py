"""What metrics have for labels, and what adapters keep."""

from __future__ import annotations

import asyncio
from collections import Counter

import attrs
import pytest
from made_events import LOST, NO_FUNDS, OK, REFUSED, RIGHT, STRANGE, WRONG, finished, progress

from gateway360_async import Disposition, ErrorId, FailureKind
from gateway360_async.observers._labels import Batches, Kept, disposition_of, kind_of, shared_by


@pytest.mark.parametrize(
    ("result", "error", "disposition", "kind"),
    [
        (OK, None, "sent", None),
        (REFUSED, None, "not_sent", "connect"),
        (LOST, None, "maybe_sent", "disconnected"),
        (NO_FUNDS, None, "not_sent", "NOT_ENOUGH_BALANCE"),
        (STRANGE, None, "not_sent", "other"),
        (RIGHT, None, "verified", None),
        (WRONG, None, "not_verified", None),
        (None, None, "unknown", None),
        (None, asyncio.CancelledError, "unknown", "cancelled"),
        (LOST, asyncio.CancelledError, "maybe_sent", "cancelled"),
        (OK, ValueError, "sent", "exception"),
    ],
)
def test_labels(result, error, disposition, kind):
    said = disposition_of(result), kind_of(result, error)
    assert said == (disposition, kind)
    assert all(one is None or type(one) is str for one in said)


def test_a_kind_says_one_thing_only():
    own = {"other", "exception"}
    assert not own & {kind.value for kind in FailureKind}
    assert not (own | {"cancelled"}) & {one.value for one in ErrorId}


def test_whose_exchange_it_was():
    assert shared_by(finished()) == "no"
    assert shared_by(finished(result=None)) == "no"
    assert shared_by(finished(result=RIGHT)) == "no"
    assert shared_by(finished(joined=True)) == "joined"
    assert shared_by(finished(result=attrs.evolve(OK, replayed=True))) == "replayed"


def test_the_oldest_goes_for_the_newest():
    kept = Kept(2)
    assert kept.put(1, "a") is None
    assert kept.put(1, "b") == "a"
    assert kept.put(2, "b") is None
    assert kept.put(1, "c") == "b"
    assert kept.put(3, "d") == "b"
    assert kept.get(2) is None
    assert kept.get(1) == "c"
    assert kept.values() == ["c", "d"]
    assert kept.take(1) == "c"
    assert kept.take(1) is None
    assert kept.values() == ["d"]


def test_a_batchs_advance():
    batches = Batches()
    assert batches.advance(progress(1, 5, 1)) == {Disposition.SENT: 5, Disposition.NOT_SENT: 1}
    assert batches.advance(progress(2, 2)) == {Disposition.SENT: 2}
    assert batches.under_way() == (2, Counter({Disposition.SENT: 7, Disposition.NOT_SENT: 1}))
    assert batches.advance(progress(1, 5, 1)) == {}
    assert batches.advance(progress(1, 6, 1, 1, finished=True)) == {
        Disposition.SENT: 1,
        Disposition.MAYBE_SENT: 1,
    }
    assert batches.under_way() == (1, Counter({Disposition.SENT: 2}))


def test_what_is_kept_of_batches_is_bounded():
    batches = Batches(most=3)
    for batch_id in range(10):
        batches.advance(progress(batch_id, 1))
    assert batches.under_way() == (3, Counter({Disposition.SENT: 3}))
