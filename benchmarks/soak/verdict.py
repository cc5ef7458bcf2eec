"""Both sides laid side by side: which bars hold.

Rules of this module:

- Pure: from what was counted to what is said, so that it can be read and tested by itself.
- A bar that does not hold says by how much, and names the first numbers.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import attrs

from .account import Account, LogWatch, State
from .faults import PLANS
from .numbers import number_of
from .process import Held, ServerSide

__all__ = ["Bar", "judge", "last_line"]

_MOST_GROWTH: Final = 0.05
"""The share by which the resident memory may have grown."""

# How many SMS a number may have, by what the client says of it.
_FEWEST: Final = {State.OK: 1, State.CANCELLED_SENT: 1}
_MOST: Final = {
    State.OK: 1,
    State.NOT_SENT: 0,
    State.MAYBE_SENT: 1,
    State.SKIPPED: 0,
    State.CANCELLED_SILENTLY: 0,
    State.CANCELLED_MAYBE: 1,
    State.CANCELLED_SENT: 1,
    State.RAISED: 0,
    State.PENDING: 1,
}


@attrs.frozen
class Bar:
    """One bar: whether it holds, what was counted, and what to look at where it does not hold."""

    holds: bool
    said: str
    details: tuple[str, ...] = ()


def judge(
    account: Account,
    log: LogWatch,
    server: ServerSide,
    *,
    before: Held,
    after: Held,
    memory: tuple[int, int],
) -> list[Bar]:
    """Judge a run."""
    pairs = Counter(zip(account.states[: account.used], server.sms, strict=False))
    many_or_few = (State.OK, State.MAYBE_SENT, State.CANCELLED_MAYBE)
    by_the_log = (State.CANCELLED_SILENTLY, State.CANCELLED_SENT)
    strays = server.counts.get("stray", 0)
    return [
        _results(account),
        _balance(account, server, pairs),
        _sms(account, server, pairs, (State.NOT_SENT, State.SKIPPED), "not sent, though accepted"),
        _sms(account, server, pairs, many_or_few, "with too few or too many SMS"),
        _sms(account, server, pairs, by_the_log, "cancelled whose log is wrong"),
        Bar(not strays, f"strays {strays}"),
        Bar(before.sockets == after.sockets, f"sockets {before.sockets} → {after.sockets}"),
        Bar(before.tasks == after.tasks, f"tasks {before.tasks} → {after.tasks}"),
        _memory(*memory),
        Bar(not log.errors, f"logged errors {log.errors}", tuple(log.first_errors)),
    ]


def _results(account: Account) -> Bar:
    results = account.counts.total() + account.entries
    parts = [
        f"{account.counts[state]:,} {name}"
        for state, name in (
            (State.OK, "Ok"),
            (State.NOT_SENT, "NOT_SENT"),
            (State.MAYBE_SENT, "MAYBE_SENT"),
            (State.SKIPPED, "skipped"),
        )
    ]
    parts.append(f"{_cancelled(account):,} cancelled")
    parts.append(f"{account.entries:,} invalid or to a number twice")
    said = f"{account.calls:,} calls = {results:,} results ({', '.join(parts)})"
    wrong = tuple(f"{what}: {count}" for what, count in account.wrong.items())
    return Bar(results == account.calls and not wrong, said, wrong)


def _cancelled(account: Account) -> int:
    return sum(count for state, count in account.counts.items() if state.cancelled)


def _balance(account: Account, server: ServerSide, pairs: Counter[tuple[int, int]]) -> Bar:
    sms = sum(server.sms)
    ok = account.counts[State.OK]
    maybe = account.counts[State.MAYBE_SENT]
    cancelled = _cancelled(account)
    # Of numbers that were never used there is none, and `pairs` ends where they begin.
    used = sum(count * number for (_, number), count in pairs.items())
    said = f"{sms:,} SMS = {ok:,} Ok + {sms - ok:,} of the {maybe:,} MAYBE_SENT and {cancelled:,} cancelled"
    return Bar(used == sms and ok <= sms <= ok + maybe + cancelled, said)


def _sms(
    account: Account,
    server: ServerSide,
    pairs: Counter[tuple[int, int]],
    states: tuple[State, ...],
    what: str,
) -> Bar:
    """Count the numbers of these states that have fewer or more SMS than that allows."""
    bad = {
        (state, sms): count
        for (state, sms), count in pairs.items()
        if state in states and not _FEWEST.get(State(state), 0) <= sms <= _MOST[State(state)]
    }
    found = sum(bad.values())
    details: list[str] = []
    if found:
        details = [f"{State(state).name} with {sms} SMS: {count}" for (state, sms), count in bad.items()]
        for index in range(account.used):
            if (account.states[index], server.sms[index]) in bad and len(details) < 10:
                details.append(
                    f"{number_of(index)}: {State(account.states[index]).name}, {server.sms[index]} SMS, read whole "
                    f"{server.whole[index]} times, the last: {PLANS[server.plan[index]]}"
                )
    return Bar(not found, f"{found:,} {what}", tuple(details))


def _memory(begin: int, end: int) -> Bar:
    growth = end / begin - 1
    said = f"RSS {begin / 2**20:.1f} → {end / 2**20:.1f} MiB ({growth:+.1%})"
    return Bar(growth <= _MOST_GROWTH, said)


def last_line(bars: list[Bar]) -> str:
    """Put the whole run in one line."""
    verdict = "ALL HOLD" if all(bar.holds for bar in bars) else "NOT HELD"
    return f"{verdict}: " + "; ".join(bar.said if bar.holds else f"[NOT HELD] {bar.said}" for bar in bars)
