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

limits = st.none() | st.integers(0, 4)
guards = st.builds(
    SpendGuard,
    allowed_prefixes=st.sampled_from(PREFIXES),
    per_number=limits,
    per_prefix=limits,
    per_client=limits,
    attempts_per_number=limits,
    attempts=limits,
    window=st.just(WINDOW),
    total=st.none() | st.integers(0, 8),
)
# Eighths of a second, so that no time is rounded, and a window's end is met exactly.
pauses = st.integers(0, 40).map(lambda eighths: eighths / 8)
steps = st.lists(
    st.tuples(st.just("admit"), pauses | st.just(0.0), st.sampled_from(NUMBERS))
    | st.tuples(st.sampled_from(["give back", "not sent"]), pauses | st.just(0.0), st.integers(0, 9)),
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
    attempted: bool = True


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
    tried = [entry for entry in entries if entry.attempted and now - WINDOW < entry.at <= now]
    of_number = [entry for entry in recent if entry.number == number]
    for count, limit, kind in (
        (
            sum(entry.number == number for entry in tried),
            guard.attempts_per_number,
            FailureKind.ATTEMPT_LIMIT,
        ),
        (len(tried), guard.attempts, FailureKind.ATTEMPT_LIMIT),
        (len(of_number), guard.per_number, FailureKind.NUMBER_LIMIT),
        (len(same), guard.per_prefix, FailureKind.PREFIX_LIMIT),
        (len(recent), guard.per_client, FailureKind.CLIENT_LIMIT),
        (len(counted), guard.total, FailureKind.TOTAL_LIMIT),
    ):
        if limit is not None and count >= limit:
            return kind
    return None


@PROPERTY
@given(guards, steps, starts)
def test_guard_answers_as_the_model(guard, schedule, start):
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
            account.give_back(entries[what].admission, attempted=step == "not sent")
            entries[what].attempted &= entries[what].given_back or step == "not sent"
            entries[what].given_back = True
        for count in account._counts:  # the limits bound the memory
            assert len(count.recent) == (0 if count.limit.window is None else sum(count.by_scope.values()))
            assert 0 not in count.by_scope.values()
            assert max(count.by_scope.values(), default=0) <= count.limit.most
