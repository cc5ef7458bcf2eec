"""Our own work: a client with everything on, over a transport that answers at once.

Rules of this module:

- CPU time only, and only ours: there is no network, and so no wait. `request_pin` in a loop is one call;
  a batch adds its workers, the hand-over of each result and the search for duplicates.
- A profile says where the time goes, not how much it is: the profiler's own cost is in every call of a
  function, so code of many small functions looks dearer in it than it is.
"""

from __future__ import annotations

import asyncio
import cProfile
import pstats
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import Any, Final

from .ours import null_client

__all__ = ["own_profile", "own_work", "titled"]

_ROWS: Final = 22
_WARM_UP: Final = 500


def _numbers(count: int) -> Iterator[str]:
    return (f"346{index:08d}" for index in range(count))


async def _calls(client: Any, count: int) -> None:
    for number in _numbers(count):
        (await client.request_pin(number)).unwrap()


async def _batch(client: Any, count: int) -> None:
    async with client.batch(_numbers(count)) as batch:
        async for item in batch:
            item.result.unwrap()


async def _cpu_us(way: Callable[[Any, int], Any], count: int) -> float:
    async with null_client() as client:
        await way(client, _WARM_UP)
        began = time.process_time()
        await way(client, count)
        return (time.process_time() - began) / count * 1e6


def own_work(count: int) -> dict[str, Any]:
    """CPU microseconds a request, one call after the other and in a batch."""
    return {
        "request_pin_us": asyncio.run(_cpu_us(_calls, count)),
        "batch_us": asyncio.run(_cpu_us(_batch, count)),
    }


def own_profile(count: int) -> str:
    """Where our own work goes, as tables."""

    async def profile(way: Callable[[Any, int], Any]) -> str:
        async with null_client() as client:
            await way(client, _WARM_UP)
            profiler = cProfile.Profile()
            with profiler:
                await way(client, count)
            return _table(profiler, count)

    parts = [
        f"## request_pin, null transport, {count} calls\n\n{asyncio.run(profile(_calls))}",
        f"## batch, null transport, {count} requests\n\n{asyncio.run(profile(_batch))}",
    ]
    return "\n\n".join(parts)


def titled(profiler: cProfile.Profile, title: str, requests: int) -> str:
    """Where the time of one measured run went."""
    return f"## {title}\n\n{_table(profiler, requests)}"


def _table(profiler: cProfile.Profile, requests: int) -> str:
    """The functions by their own time, and the packages by the sum of theirs."""
    stats: dict[Any, Any] = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    packages: Counter[str] = Counter()
    rows: list[tuple[float, float, str]] = []
    for (file, _, name), (_, calls, own, _, _) in stats.items():
        package, where = _place(file)
        if package == "selectors" and name == "select":
            continue  # waiting, mostly, and what is not waiting is the kernel's
        packages[package] += own
        rows.append((own, calls, f"{where}: {name}"))
    rows.sort(reverse=True)
    total = sum(packages.values()) or 1.0
    lines = [
        "  µs/request   share  package (own time of its functions; `builtins` is C code, whoever calls it)"
    ]
    lines += [
        f"  {seconds / requests * 1e6:10.2f}  {seconds / total:6.1%}  {package}"
        for package, seconds in packages.most_common(12)
    ]
    lines += ["", "  µs/request   share  calls/request  function"]
    lines += [
        f"  {own / requests * 1e6:10.2f}  {own / total:6.1%}  {calls / requests:13.2f}  {where}"
        for own, calls, where in rows[:_ROWS]
    ]
    return "\n".join(lines)


def _place(file: str) -> tuple[str, str]:
    """The package of a file, and the file in it, without the directories of this machine."""
    if file == "~":
        return "builtins", "builtins"
    if file.startswith("<"):
        return "attrs (generated)" if "attrs" in file else "generated", file.strip("<>")
    parts = PurePath(file).parts
    for anchor in ("site-packages", "gateway360_async", "benchmarks"):
        if anchor in parts:
            at = len(parts) - 1 - parts[::-1].index(anchor) + (anchor == "site-packages")
            inside = parts[at:]
            return inside[0].removesuffix(".py"), "/".join(inside)
    if "asyncio" in parts:
        return "asyncio", f"asyncio/{parts[-1]}"
    return parts[-1].removesuffix(".py"), parts[-1]
