"""Our own work and memory: a client with everything on, over a transport that answers at once."""

import asyncio
from contextlib import nullcontext
from typing import Any, Final

from gateway360_async import Gateway360Client
from gateway360_async.transports import Answer, Exchange, Phase

from . import API_KEY, SENDER, number
from .meter import Clock, metered

_WARM_UP: Final = 500
_ROWS: Final = 22


class _NullTransport:
    """Answers at once; with `yields` it lets the other workers run first, as a network does."""

    def __init__(self, *, yields: bool) -> None:
        self._answer = Answer(200, {"content-type": "application/json"}, b'{"status":"ok"}')
        self._yields = yields

    async def post(self, _url: str, *, exchange: Exchange, **_: Any) -> Answer:
        """Report the phases as any transport does."""
        exchange.phase = Phase.SENT
        if self._yields:
            await asyncio.sleep(0)
        exchange.phase = Phase.ANSWERED
        exchange.http_status = 200
        exchange.answer = self._answer
        return self._answer

    async def aclose(self) -> None:
        """Nothing is open."""


def _null_client(*, yields: bool = False) -> Gateway360Client:
    transport = _NullTransport(yields=yields)
    # The URL is never connected to.
    return Gateway360Client(API_KEY, sender=SENDER, base_url="http://127.0.0.1:9", transport=transport)


async def _calls(client: Gateway360Client, count: int) -> None:
    for index in range(count):
        (await client.request_pin(number(index))).unwrap()


async def _batch(client: Gateway360Client, count: int, **settings: Any) -> None:
    async with client.batch(map(number, range(count)), **settings) as batch:
        async for item in batch:
            item.result.unwrap()


async def first_call() -> None:
    """Make one call."""
    async with _null_client() as client:
        await _calls(client, 1)


async def own_work(requests: int, *, profile: bool = False) -> dict[str, Any]:
    """Return the CPU microseconds per request, one call after the other and in a batch, or where they go."""
    found: dict[str, Any] = {}
    for name, way in (("request_pin", _calls), ("batch", _batch)):
        profiler: Any = None
        if profile:
            import cProfile  # which is no import of a first call

            profiler = cProfile.Profile()
        async with _null_client() as client:
            await way(client, _WARM_UP)
            with Clock() as clock, profiler or nullcontext():
                await way(client, requests)
        found[f"{name}_us"] = clock.per(requests)["cpu_us"] if profiler is None else profile_text(profiler)
    return found


def profile_text(profiler: Any) -> str:
    """Return the functions by their own time, without the directories of this machine."""
    import io
    import pstats

    out = io.StringIO()
    pstats.Stats(profiler, stream=out).strip_dirs().sort_stats("tottime").print_stats(_ROWS)
    return out.getvalue().strip()


async def memory(requests: int, on_duplicate: str) -> dict[str, Any]:
    """Return the memory of one batch whose input is made as it is read, and whose results are dropped."""
    async with _null_client(yields=True) as client:
        # Imports and objects of the first requests are no growth of a batch.
        await _batch(client, 1_000, on_duplicate=on_duplicate)
        async with metered(Clock()) as figures:
            await _batch(client, requests, on_duplicate=on_duplicate)
    return {**figures, "peak_bytes": figures["held_bytes"] + figures["growth_bytes"]}
