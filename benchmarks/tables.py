"""The report of the comparison: the bars and the tables. Medians over the rounds; nothing is left out.

A ratio is made within each round, whose two sides ran close to each other; the median over the rounds is held against the
bound.
"""

from statistics import median
from typing import Any, Final, TypeAlias

from .cases import CASES
from .contenders import LABELS
from .report import Bar, bar_table, bounded, table

Results: TypeAlias = dict[str, Any]

_AIOHTTP: Final = "hand-written aiohttp + semaphore + `json=`"
_AGAINST: Final = (
    (_AIOHTTP, 2.0, "rate", "c50-0ms", "aiohttp", "asyncio"),
    (_AIOHTTP, 2.0, "rate", "c50-0ms", "aiohttp", "uvloop"),
    ("pyreqwest by hand", 1.5, "rate", "c50-0ms", "pyreqwest", "asyncio"),
    ("pyreqwest by hand", 1.5, "rate", "c50-0ms", "pyreqwest", "uvloop"),
    ("the floor", 0.9, "rate", "c500-50ms", "floor", "asyncio"),
    ("the floor", 0.5, "rate", "c50-0ms", "floor", "asyncio"),
    ("httpx + semaphore", 100.0, "rate", "c500-50ms", "httpx", "asyncio"),
    (_AIOHTTP, 0.65, "cpu_us", "c100-50ms-tls", "aiohttp", "asyncio"),
)
"""The divisor of the default's figure, the bound (for a rate at least, for CPU at most), metric, case, contender and loop."""
_TITLES: Final = {case.name: case.title for case in CASES}


def values(
    results: Results, case: str, contender: str, loop: str = "asyncio", metric: str = "rate"
) -> dict[int, float]:
    """Return a metric of a row, by round."""
    return {
        record["round"]: record[metric]
        for record in results["load"]
        if (record["case"], record["contender"], record["loop"]) == (case, contender, loop)
        and record.get(metric) is not None
    }


def _ratios(results: Results, metric: str, above: tuple[str, ...], below: tuple[str, ...]) -> list[float]:
    top, bottom = (values(results, *side, metric=metric) for side in (above, below))
    return [top[turn] / bottom[turn] for turn in sorted(top) if bottom.get(turn)]


def bars(results: Results) -> list[Bar]:
    """Return all bars, from the raw results of one run."""
    return [
        *(_against(results, *row) for row in _AGAINST),
        _gather(results),
        _flat(results),
        *(_own(results, name, bound) for name, bound in (("request_pin", 12.0), ("batch", 10.0))),
        _lag(results),
        _imports(results),
        *_memory(results),
    ]


def _against(  # noqa: PLR0917
    results: Results, name: str, bound: float, metric: str, case: str, contender: str, loop: str
) -> Bar:
    sides = (case, "ours", loop), (case, contender, loop)
    words = "requests/s" if metric == "rate" else "CPU per request"
    where = _TITLES[case] + (", uvloop" if loop == "uvloop" else "")
    found, cpu = (_ratios(results, either, *sides) for either in (metric, "cpu_us"))
    # The server, on the same machine, bounds the rate, but not the client's CPU.
    note = f"CPU per request: {median(cpu):.2g} of the other's" if cpu and metric == "rate" else ""
    what = f"default ÷ {name}, {words}, {where}"
    return bounded(what, bound, "×", found, at_most=metric == "cpu_us", note=note)


def _flat(results: Results) -> Bar:
    ours, floor, bare = (
        _ratios(results, "cpu_us", (f"c1000-0ms{suffix}", name), (f"c50-0ms{suffix}", name))
        for name, suffix in (("ours", ""), ("floor", ""), ("ours", "-uncollected"))
    )
    said = (("the floor's own", floor), ("with Python's garbage collector off", bare))
    note = "; ".join(f"{words}: {median(found):.2f}" for words, found in said if found)
    what = "CPU per request at concurrency 1,000 ÷ at 50, 0 ms server"
    return bounded(what, 1.3, "×", ours, at_most=True, note=note)


def _own(results: Results, name: str, bound: float) -> Bar:
    found = [record[f"{name}_us"] for record in results["own"] if f"{name}_us" in record]
    return bounded(
        f"our own work per request, null transport, CPU, `{name}`", bound, "µs", found, at_most=True
    )


def _gather(results: Results) -> Bar:
    cold = values(results, "batch-2000-cold", "ours")
    gather = next((record for record in results["load"] if record["contender"] == "httpx-gather"), Results())
    rate = gather.get("rate")
    note = "`gather` ran once, beside the memory runs on the other core"
    if gather.get("gave_up_after"):
        # The whole would have taken longer than that.
        rate = gather["asked"] / gather["gave_up_after"]
        note = f"at least: `gather` had not ended after {gather['gave_up_after']:g} s"
    what = "default ÷ bare `gather` over httpx, 2,000 calls, 50 ms server"
    found = [value / rate for value in cold.values()] if rate else []
    return bounded(what, 60.0, "×", found, note=note if found else "")


def _lag(results: Results) -> Bar:
    lags, bare = (
        values(results, case, "ours", metric="lag_p99_ms").values()
        for case in ("batch-20000", "batch-20000-uncollected")
    )
    note = f"with Python's garbage collector off: {median(bare):.1f} ms" if bare else ""
    if lags and results["quick"]:
        note = "with a shorter batch"
    what = "p99 heartbeat lag, 20,000 requests, concurrency 100, 0 ms server"
    return bounded(what, 10.0, "ms", lags, at_most=True, note=note)


def _imports(results: Results) -> Bar:
    httpx, ours, _, _, first_call = results["imports"].values() or [[]] * 5
    note = ""
    if ours:
        # Put off is not saved: httpx comes with the first client, and cattrs with the first call.
        whole = median(mine / theirs for mine, theirs in zip(first_call, httpx, strict=True))
        note = f"with what the first client and the first call import: {whole:.2f}"
    found = [mine / theirs for mine, theirs in zip(ours, httpx, strict=True)]
    return bounded("`import gateway360_async` ÷ `import httpx`", 1.25, "×", found, at_most=True, note=note)


def _memory(results: Results) -> list[Bar]:
    runs = [record for record in results["memory"] if "peak_bytes" in record]
    ratio: list[float] = []
    each: list[float] = []
    note = ""
    if len(runs) == 3:
        short, long, skip = runs
        many = long["asked"]
        ratio = [long["peak_bytes"] / short["peak_bytes"]]
        # Of the batch alone: two processes differ by a megabyte before they begin.
        each = [(skip["growth_bytes"] - long["growth_bytes"]) / many]
        if many != 1_000_000:
            note = f"with {many:,} requests only"
        elif not all(record["peak_was_restarted"] for record in runs):
            note = "the platform keeps the imports' peak, which may hide a growth"
    what = "peak memory, 1,000,000 requests ÷ 10,000, `send`"
    return [
        bounded(what, 1.1, "×", ratio, at_most=True, note=note),
        bounded("memory per number, `skip`", 100.0, "bytes", each, at_most=True, note=note),
    ]


_COLUMNS: Final = (
    ("rate", "requests/s", "{:,.0f}"),
    ("cpu_us", "CPU µs/request", "{:,.0f}"),
    ("p50_ms", "p50 ms", "{:,.1f}"),
    ("p99_ms", "p99 ms", "{:,.1f}"),
    ("lag_p99_ms", "p99 lag ms", "{:,.1f}"),
    ("peak_bytes", "peak MiB", "{:,.0f}"),
    ("connections", "connections", "{:,.0f}"),
)


def markdown(results: Results) -> str:
    """Return the whole report."""
    parts = [_heading(results), f"### The bars\n\n{bar_table(bars(results))}"]
    parts += (_case(results, case.name, case.title) for case in CASES)
    parts += (_memory_table(results), _import_table(results))
    return "\n\n".join(part for part in parts if part) + "\n"


def _heading(results: Results) -> str:
    env = results["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in env["versions"].items())
    kind = " A shortened run (`--quick`): look, do not quote." if results["quick"] else ""
    rounds = "1 round" if results["rounds"] == 1 else f"{results['rounds']} rounds"
    return (
        f"{env['python']} on {env['system']}, {env['cores']} cores, loopback; {rounds}, "
        f"{results['seconds']:,.0f} s in all.{kind} {versions}. "
        "Medians; in brackets the lowest and the highest round. "
        f"Spin: {min(results['spin_ms']):.0f}–{max(results['spin_ms']):.0f} ms."
    )


def _case(results: Results, name: str, title: str) -> str:
    keys = dict.fromkeys(
        (record["contender"], record["loop"]) for record in results["load"] if record["case"] == name
    )
    if not keys:
        return ""
    head = ["", "loop", *(column for _, column, _ in _COLUMNS), ""]
    rows = [_cells(results, name, contender, loop) for contender, loop in keys]
    return f"### {title}\n\n{table(head, rows, words=(0, 1, 9))}"


def _cells(results: Results, case: str, contender: str, loop: str) -> list[str]:
    cells = [LABELS[contender], "stock" if loop == "asyncio" else loop]
    for metric, _, form in _COLUMNS:
        found = list(values(results, case, contender, loop, metric).values())
        if metric == "peak_bytes":
            found = [value / 2**20 for value in found]
        cell = form.format(median(found)) if found else "–"
        if metric == "rate" and len(found) > 1:
            cell += f" ({form.format(min(found))}–{form.format(max(found))})"
        cells.append(cell)
    remarks: dict[str, None] = {}
    for record in results["load"]:
        if (record["case"], record["contender"], record["loop"]) == (case, contender, loop):
            remarks |= dict.fromkeys(_remarks(record))
    return [*cells, "; ".join(remarks)]


def _remarks(record: Results) -> list[str]:
    said = [
        f"{word.replace('_', ' ')}: {record[word]}" for word in ("not_available", "failed") if word in record
    ]
    said += (f"{count} × {error}" for error, count in record.get("errors", {}).items())
    said += ["cut short"] if record.get("capped") else []
    said += [] if record["warm_up"] else ["connecting included"]
    return said


def _memory_table(results: Results) -> str:
    rows = [
        [f"`{record['on_duplicate']}`", f"{record['asked']:,}"]
        + [f"{record[name] / 2**20:,.2f}" for name in ("peak_bytes", "growth_bytes")]
        for record in results["memory"]
        if "peak_bytes" in record
    ]
    head = ["`on_duplicate`", "requests", "peak MiB", "of which the batch"]
    return _titled("Memory of a batch, null transport", head, rows)


def _import_table(results: Results) -> str:
    rows: list[list[str]] = []
    for program, seconds in results["imports"].items():
        ms = [second * 1e3 for second in seconds]
        rows.append([f"`{program}`", f"{median(ms):,.0f}", f"{min(ms):,.0f}–{max(ms):,.0f}"])
    return _titled("Imports, in fresh interpreters", ["", "median ms", "lowest–highest"], rows)


def _titled(title: str, head: list[str], rows: list[list[str]]) -> str:
    return f"### {title}\n\n{table(head, rows)}" if rows else ""
