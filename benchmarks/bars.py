"""The bars of the issue, each with what was measured against it.

Rules of this module:

- Every bar is in the table, met or not; one that this run did not measure says so and why.
- A ratio is made within each round, whose two sides ran close to each other, and the median over the
  rounds is held against the bound as it is, without any rounding. Lowest and highest are shown beside it.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, Final

import attrs

__all__ = ["Bar", "bars", "values"]

_NOT_MEASURED: Final = "not measured in this run"
_LOOPS: Final = (("asyncio", "stock loop"), ("uvloop", "uvloop"))


@attrs.frozen
class Bar:
    """One bar. `found` has a value a round; `None` in `met` is "not measured"."""

    what: str
    bound: float
    at_most: bool
    unit: str
    found: tuple[float, ...]
    note: str = ""

    @property
    def median(self) -> float | None:
        return statistics.median(self.found) if self.found else None

    @property
    def met(self) -> bool | None:
        if self.median is None:
            return None
        return self.median <= self.bound if self.at_most else self.median >= self.bound

    @property
    def verdict(self) -> str:
        return {True: "MET", False: "NOT MET", None: "not measured"}[self.met]

    def as_json(self) -> dict[str, Any]:
        data = attrs.asdict(self)
        return {**data, "median": self.median, "verdict": self.verdict}


def values(
    results: dict[str, Any], case: str, contender: str, loop: str = "asyncio", metric: str = "rate"
) -> dict[int, float]:
    """A metric of a row, by round."""
    return {
        record["round"]: record[metric]
        for record in results["load"]
        if (record["case"], record["contender"], record["loop"]) == (case, contender, loop)
        and record.get(metric) is not None
    }


def _ratios(above: dict[int, float], below: dict[int, float]) -> tuple[float, ...]:
    return tuple(above[turn] / below[turn] for turn in sorted(above) if below.get(turn))


def bars(results: dict[str, Any]) -> list[Bar]:
    """All bars, from the raw results of one run."""
    return [
        *_against_by_hand(results),
        *_against_floor(results),
        *_against_httpx(results),
        _tls(results),
        _flat(results),
        *_own(results),
        _lag(results),
        _imports(results),
        *_memory(results),
    ]


def _why(results: dict[str, Any], case: str, *contenders: str) -> str:
    """Why there is no number: what the rows said, or that they were not run."""
    for record in results["load"]:
        if record["case"] == case and record["contender"] in contenders:
            said = record.get("not_available") or record.get("failed")
            if said:
                return str(said)
    return _NOT_MEASURED


def _bar(
    results: dict[str, Any],
    what: str,
    bound: float,
    sides: Sequence[tuple[str, str, str]],
    *,
    metric: str = "rate",
    note: str = "",
) -> Bar:
    above, below = (values(results, *side, metric=metric) for side in sides)
    found = _ratios(above, below)
    if not found:
        note = _why(results, sides[0][0], sides[0][1], sides[1][1])
    return Bar(what, bound, metric == "cpu_us", "×", found, note)


def _against_by_hand(results: dict[str, Any]) -> list[Bar]:
    return [
        _bar(
            results,
            f"default ÷ {name}, requests/s, 0 ms server, concurrency 50, {loop_name}",
            bound,
            [("c50-0ms", contender, loop) for contender in ("ours", other)],
            note=_cpu_against(results, other, loop),
        )
        for other, name, bound in (
            ("aiohttp", "hand-written aiohttp + semaphore + `json=`", 2.0),
            ("pyreqwest", "pyreqwest by hand", 1.5),
        )
        for loop, loop_name in _LOOPS
    ]


def _cpu_against(results: dict[str, Any], other: str, loop: str) -> str:
    """The CPU of the same two rows: the server, on the same machine, bounds the rate but not that."""
    sides = (values(results, "c50-0ms", contender, loop, "cpu_us") for contender in ("ours", other))
    found = _ratios(*sides)
    return f"CPU per request: {statistics.median(found):.2f} of the other's" if found else ""


def _against_floor(results: dict[str, Any]) -> list[Bar]:
    return [
        _bar(
            results,
            f"default ÷ the floor, requests/s, {latency} ms server, concurrency {concurrency}",
            bound,
            [(f"c{concurrency}-{latency}ms", contender, "asyncio") for contender in ("ours", "floor")],
        )
        for latency, concurrency, bound in ((50, 500, 0.9), (0, 50, 0.5))
    ]


def _against_httpx(results: dict[str, Any]) -> list[Bar]:
    limited = _bar(
        results,
        "default ÷ httpx + semaphore, requests/s, 50 ms server, concurrency 500",
        100.0,
        [("c500-50ms", name, "asyncio") for name in ("ours", "httpx")],
    )
    cold = values(results, "batch-2000-cold", "ours")
    gather: dict[str, Any] = next(
        (record for record in results["load"] if record["contender"] == "httpx-gather"), {}
    )
    rate = gather.get("rate")
    note = "`gather` ran once, beside the memory runs on the other core"
    if gather.get("gave_up_after"):
        # Whatever the whole would have taken, it would have been longer than that.
        rate = gather["asked"] / gather["gave_up_after"]
        note = f"at least: `gather` had not ended after {gather['gave_up_after']:g} s"
    ratios = tuple(value / rate for value in cold.values()) if rate else ()
    if not ratios:
        note = _why(results, "batch-2000-cold", "httpx-gather", "ours")
    what = "default ÷ bare `gather` over httpx, 2,000 calls, 50 ms server"
    return [limited, Bar(what, 60.0, at_most=False, unit="×", found=ratios, note=note)]


def _tls(results: dict[str, Any]) -> Bar:
    return _bar(
        results,
        "CPU per request, TLS, 50 ms server, concurrency 100: default ÷ hand-written aiohttp",
        0.65,
        [("c100-50ms-tls", contender, "asyncio") for contender in ("ours", "aiohttp")],
        metric="cpu_us",
    )


def _flat(results: dict[str, Any]) -> Bar:
    """The same ratio for the floor (what the loop and the kernel make of it), and without the collector, is the note."""
    said: list[str] = []
    for name, suffix, words in (
        ("floor", "", "the floor's own"),
        ("ours", "-uncollected", "with Python's garbage collector off"),
    ):
        sides = (
            values(results, f"c{concurrency}-0ms{suffix}", name, metric="cpu_us")
            for concurrency in (1000, 50)
        )
        if found := _ratios(*sides):
            said.append(f"{words}: {statistics.median(found):.2f}")
    return _bar(
        results,
        "CPU per request at concurrency 1,000 ÷ at 50, 0 ms server",
        1.3,
        [(f"c{concurrency}-0ms", "ours", "asyncio") for concurrency in (1000, 50)],
        metric="cpu_us",
        note="; ".join(said),
    )


def _own(results: dict[str, Any]) -> list[Bar]:
    found = [record for record in results["own"] if "batch_us" in record]
    return [
        Bar(
            f"our own work per request, null transport, CPU, {name}",
            bound,
            at_most=True,
            unit="µs",
            found=tuple(record[metric] for record in found),
            note="" if found else _NOT_MEASURED,
        )
        for metric, name, bound in (("request_pin_us", "`request_pin`", 12.0), ("batch_us", "`batch`", 10.0))
    ]


def _memory(results: dict[str, Any]) -> list[Bar]:
    by_key = {
        (record["on_duplicate"], record["asked"]): record
        for record in results["memory"]
        if "peak_bytes" in record
    }
    counts = sorted({count for _, count in by_key})
    few, many = (counts[0], counts[-1]) if counts else (10_000, 1_000_000)
    lasting, short, skipping = (by_key.get(key) for key in (("send", many), ("send", few), ("skip", many)))
    ratio = (lasting["peak_bytes"] / short["peak_bytes"],) if lasting and short else ()
    # Of the batch alone: two processes differ by a megabyte before they begin.
    bytes_each = (
        ((skipping["growth_bytes"] - lasting["growth_bytes"]) / many,) if lasting and skipping else ()
    )
    note = "" if ratio else _NOT_MEASURED
    if ratio and not all(record["peak_was_restarted"] for record in by_key.values()):
        note = "the platform keeps the imports' peak, which may hide a growth"
    if ratio and many != 1_000_000:
        note = f"with {many:,} requests only"
    return [
        Bar("peak memory, 1,000,000 requests ÷ 10,000, `send`", 1.1, at_most=True, unit="×", found=ratio, note=note),
        Bar("memory per number, `skip`", 100.0, at_most=True, unit="bytes", found=bytes_each, note=note),
    ]  # fmt: skip


def _lag(results: dict[str, Any]) -> Bar:
    lags = values(results, "batch-20000", "ours", metric="lag_p99_ms")
    note = "" if lags else _why(results, "batch-20000", "ours")
    if bare := values(results, "batch-20000-uncollected", "ours", metric="lag_p99_ms"):
        note = f"with Python's garbage collector off: {statistics.median(bare.values()):.1f} ms"
    if lags and results["quick"]:
        note = "with a shorter batch"
    what = "p99 heartbeat lag, 20,000 requests, concurrency 100, 0 ms server"
    return Bar(what, 10.0, at_most=True, unit="ms", found=tuple(lags.values()), note=note)


def _imports(results: dict[str, Any]) -> Bar:
    times = results["imports"]
    found: tuple[float, ...] = ()
    if times:
        pairs = zip(times["import gateway360_async"], times["import httpx"], strict=True)
        found = tuple(ours / theirs for ours, theirs in pairs)
    note = _NOT_MEASURED
    if found:
        # Put off is not saved: httpx comes with the first client, and cattrs with the first call.
        pairs = zip(
            times["import gateway360_async, and its first call (null transport)"],
            times["import httpx"],
            strict=True,
        )
        whole = statistics.median(all_of_it / httpx for all_of_it, httpx in pairs)
        note = f"with what the first client and the first call import: {whole:.2f}"
    return Bar(
        "`import gateway360_async` ÷ `import httpx`", 1.25, at_most=True, unit="×", found=found, note=note
    )
