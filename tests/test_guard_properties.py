"""Any sequence of requests, returns and pauses, against a model that keeps everything and counts it anew."""

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway360_async import FailureKind, SpendGuard
from gateway360_async._guard import Admission, Refusal

PROPERTY = settings(deadline=None, max_examples=300, derandomize=True)

NUMBERS = ["34666666111", "34600000000", "351911111111", "18765550100", "12125550100", "8821234567"]
PREFIXES = [None, ["34", "1", "1876"], ["346", "34", "351", "12125550100"]]
WINDOW = 4.0

ceilings = st.none() | st.integers(0, 4)
guards = st.builds(
    SpendGuard,
    allowed_prefixes=st.sampled_from(PREFIXES),
    per_prefix=ceilings,
    per_client=ceilings,
    window=st.just(WINDOW),
    total=st.none() | st.integers(0, 8),
)
# Eighths of a second, so that no time is rounded, and a window's end is met exactly.
pauses = st.integers(0, 40).map(lambda eighths: eighths / 8)
steps = st.lists(
    st.tuples(st.just("admit"), pauses | st.just(0.0), st.sampled_from(NUMBERS))
    | st.tuples(st.just("give back"), pauses | st.just(0.0), st.integers(0, 9)),
    max_size=60,
)
starts = st.sampled_from([0.0, -3.5, 2.0**40])


@attrs.define
class Entry:
    """One admission, as the model remembers it."""

    admission: Admission
    number: str
    at: float
    given_back: bool = False


def prefix_of(guard, number):
    if guard.allowed_prefixes is not None:
        return max((p for p in guard.allowed_prefixes if number.startswith(p)), key=len, default=None)
    return next(code for code in ("34", "351", "1", "882") if number.startswith(code))


def expected(guard, entries, number, now):
    """Say what the guard must answer, from its docstring and the whole history."""
    prefix = prefix_of(guard, number)
    if prefix is None:
        return FailureKind.PREFIX_NOT_ALLOWED
    counted = [entry for entry in entries if not entry.given_back]
    recent = [entry for entry in counted if now - WINDOW < entry.at <= now]
    same = [entry for entry in recent if prefix_of(guard, entry.number) == prefix]
    for count, ceiling, kind in (
        (len(same), guard.per_prefix, FailureKind.PREFIX_CEILING),
        (len(recent), guard.per_client, FailureKind.CLIENT_CEILING),
        (len(counted), guard.total, FailureKind.TOTAL_CEILING),
    ):
        if ceiling is not None and count >= ceiling:
            return kind
    return None


def run(guard, schedule, start):
    """Run a schedule, each answer against the model's, and give what was admitted."""
    account, entries, now = guard.open(), [], start
    for step, pause, what in schedule:
        now += pause
        if step == "admit":
            answer = account.admit(what, now)
            kind = answer.kind if isinstance(answer, Refusal) else None
            assert kind == expected(guard, entries, what, now)
            if isinstance(answer, Admission):
                entries.append(Entry(answer, what, now))
        elif what < len(entries):
            account.give_back(entries[what].admission)
            entries[what].given_back = True
        bounded(guard, account)
    return [entry for entry in entries if not entry.given_back]


def bounded(guard, account):
    """What is kept never exceeds what the ceilings allow."""
    kept = len(account._recent)
    assert kept == sum(account._by_prefix.values())
    assert 0 not in account._by_prefix.values()
    if guard.per_prefix is None and guard.per_client is None:
        assert kept == 0
    if guard.per_client is not None:
        assert kept <= guard.per_client
    if guard.per_prefix is not None:
        assert max(account._by_prefix.values(), default=0) <= guard.per_prefix


@PROPERTY
@given(guards, steps, starts)
def test_every_answer_is_the_models(guard, schedule, start):
    run(guard, schedule, start)


@PROPERTY
@given(guards, steps, starts)
def test_no_stretch_of_a_window_holds_more_than_a_ceiling(guard, schedule, start):
    sent = run(guard, schedule, start)
    for first in sent:
        # The stretches that begin with an admission: no other holds more.
        stretch = [entry for entry in sent if first.at <= entry.at < first.at + WINDOW]
        assert guard.per_client is None or len(stretch) <= guard.per_client
        for prefix in {prefix_of(guard, entry.number) for entry in stretch}:
            same = [entry for entry in stretch if prefix_of(guard, entry.number) == prefix]
            assert guard.per_prefix is None or len(same) <= guard.per_prefix
    assert guard.total is None or len(sent) <= guard.total


@PROPERTY
@given(guards, steps, steps, starts)
def test_what_is_given_back_leaves_no_trace(guard, schedule, detour, start):
    """A detour whose every admission is given back changes no answer after it."""
    straight, around = guard.open(), guard.open()
    now = start
    for step, pause, what in schedule:
        now += pause
        for _, _, number in detour if step == "admit" else ():
            answer = around.admit(NUMBERS[number % 6] if isinstance(number, int) else number, now)
            if isinstance(answer, Admission):
                around.give_back(answer)
        if step == "admit":
            assert type(straight.admit(what, now)) is type(around.admit(what, now))
    assert len(straight._recent) == len(around._recent)
    assert straight._by_prefix == around._by_prefix
    assert straight._total == around._total
