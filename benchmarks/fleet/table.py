"""The fleet's results as markdown, from the raw results alone."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any, Final

__all__ = ["PARTS", "markdown", "write"]

PARTS: Final = ("chaos", "rate", "doubles", "throughput")


def markdown(results: dict[str, Any]) -> str:
    """The whole report."""
    parts = [
        _heading(results),
        _bars(results),
        _chaos(results.get("chaos")),
        _doubles(results.get("doubles")),
        _throughput(results.get("throughput")),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def write(directory: Path, results: dict[str, Any]) -> None:
    """Write `fleet.md`, and what it was made of as `fleet.json`."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "fleet.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (directory / "fleet.md").write_text(markdown(results), encoding="utf-8")


def _heading(results: dict[str, Any]) -> str:
    env = results["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in env["versions"].items() if version)
    return (
        f"### The fleet\n\n{env['python']} on {env['system']}, {env['cores']} cores, loopback, "
        f"Redis {env['redis']} with `appendonly yes` and `appendfsync always`; {results['seconds']:,.0f} s in all. "
        f"{versions}."
    )


def _table(head: list[str], rows: list[list[str]], words: int = 1) -> str:
    """A table whose first columns hold words, and the others numbers."""
    rule = ["---" if at < words else "---:" for at in range(len(head))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


def _bars(results: dict[str, Any]) -> str:
    bars = [bar for part in PARTS for bar in results.get(part, {}).get("bars", [])]
    rows = [[bar["what"], "**held**" if bar["holds"] else "**NOT HELD**", bar["found"]] for bar in bars]
    return _table(["what has to hold", "", "found"], rows, words=3)


def _chaos(found: dict[str, Any] | None) -> str:
    if found is None:
        return ""
    return (
        f"#### Chaos\n\n{found['workers']} workers, {found['requests']:,} requests, each to another number, "
        f"{found['rate']:g} a second together. Every {found['kill_every']:g} s a random worker was killed by SIGKILL "
        f"and replaced: {found['killed']} in {found['seconds']:.0f} s. Redis was restarted once.\n\n"
        f"{found['posts']:,} requests reached the gateway: {found['sent']:,} sent, {found['maybe_sent']:,} maybe sent "
        f"(of which {found['maybe_sent_with_sms']:,} were), {found['not_sent']:,} not sent. The fullest 5 s had "
        f"{found['most_a_second_in_5_s']:.1f} a second; while there was work for all, it was "
        f"{found['busy_rate']:.1f} in the mean ({found['busy_rate'] / found['rate'] - 1:+.1%}): workers that "
        "start again take the cores from those that send, and what a killed one held comes back after seconds."
    )


def _doubles(found: dict[str, Any] | None) -> str:
    if found is None:
        return ""
    return (
        f"#### Doubles\n\n{found['tasks']:,} tasks, each delivered to two workers at once: {found['delivered']:,} "
        f"deliveries in {found['seconds']:.1f} s, {found['posts']:,} requests that reached the gateway."
    )


def _throughput(found: dict[str, Any] | None) -> str:
    if found is None:
        return ""
    parts = [
        (
            f"#### Throughput\n\n{found['requests']:,} requests a row, a gateway that answers after 50 ms, 100 at a "
            "time a process: so each sends 2,000 a second at most. Medians; in brackets the lowest and the highest round."
        ),
        _rates(found),
        _calls(found),
        (
            f"The process that fills the queue and follows it takes {found['follower']['follower_cpu_us']:,.0f} CPU µs a "
            f"request; a whole batch with two workers ran at {found['follower']['rate']:,.0f} a second, its own "
            f"process on the same cores. The record of a wish that was sent takes {found['record_bytes']:,.0f} bytes of Redis."
        ),
    ]
    return "\n\n".join(parts)


def _key(row: dict[str, Any]) -> tuple[int, bool, str]:
    return row["workers"], row["claim"], row["fsync"]


def _rates(found: dict[str, Any]) -> str:
    rows: list[list[str]] = []
    for title, loop in dict.fromkeys((row["title"], row["loop"]) for row in found["single"]):
        same = [row for row in found["single"] if (row["title"], row["loop"]) == (title, loop)]
        failed = [row["failed"] for row in same if "failed" in row]
        name = f"one process, {title}, {'stock loop' if loop == 'asyncio' else loop}"
        if failed:
            rows.append([name, f"failed: {failed[0]}", *("–" for _ in range(2))])
            continue
        rows.append([name, _spread(same, "rate"), _median(same, "cpu_us"), "–"])
    for key in dict.fromkeys(_key(row) for row in found["fleet"]):
        workers, claim, fsync = key
        same = [row for row in found["fleet"] if _key(row) == key]
        name = f"{workers} worker{'s' if workers > 1 else ''}, {'with' if claim else 'without'} the claim"
        if fsync != "always":
            name += f", `appendfsync {fsync}`"
        rows.append(
            [
                name,
                _spread(same, "rate"),
                _median(same, "worker_cpu_us"),
                _median(same, "redis_cpu_us"),
            ]
        )
    head = ["", "requests/s", "CPU µs/request", "of Redis"]
    return _table(head, rows)


def _spread(rows: list[dict[str, Any]], name: str) -> str:
    values = [row[name] for row in rows]
    text = f"{statistics.median(values):,.0f}"
    return text if len(values) < 2 else f"{text} ({min(values):,.0f}–{max(values):,.0f})"


def _median(rows: list[dict[str, Any]], name: str) -> str:
    return f"{statistics.median(row[name] for row in rows):,.0f}"


def _calls(found: dict[str, Any]) -> str:
    """What Redis is asked for one request, with the claim and without: of the row with two workers."""
    columns = {
        claim: next(row["redis_calls"] for row in found["fleet"] if _key(row) == (2, claim, "always"))
        for claim in (True, False)
    }
    names = dict.fromkeys((*columns[True], *columns[False]))
    rows = [
        [f"`{name}`", *(f"{columns[claim].get(name, 0.0):.2f}" for claim in (True, False))] for name in names
    ]
    return (
        "What Redis runs for one request, two workers; what a script runs is counted as well:\n\n"
        + _table(["command", "with the claim", "without"], rows)
    )
