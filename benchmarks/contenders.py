"""The ways to send that are compared: an HTTP library as people use it, our client, and the floor.

- People's: a task per number, a semaphore, as many connections as requests at a time, all kept alive, and no timeout of
  the library's own pool. None validates, observes phases, caps the answer or keeps a budget. The latency is taken inside
  the semaphore.
- Ours: `Gateway360Client.batch` with everything on, as the README shows it.
- The floor is no client: each connection writes prepared bytes as soon as it has found its last answer's end, without a
  task, future or timeout per request. On the stock loop each read takes 256 KiB of fresh memory, which ours saves.
- Each measurement imports what it measures, and no more.
"""

import asyncio
import cProfile
import gc
import json
import ssl
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from importlib import import_module
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

import attrs

from . import API_KEY, PATH, SENDER, number, payload
from .meter import Clock, metered, percentile


@attrs.frozen
class Job:
    """One measurement: `cap` seconds long at most, with TLS where there is the PEM of an authority to trust."""

    base_url: str
    concurrency: int
    cap: float
    authority: str | None = None

    @property
    def ssl_context(self) -> ssl.SSLContext | None:
        return None if self.authority is None else ssl.create_default_context(cadata=self.authority)


class Load:
    """The numbers to send to, each another, and the results so far. Only an accepted request counts."""

    def __init__(self, requests: int, cap: float) -> None:
        self._requests = requests
        self.ends = time.perf_counter() + cap
        self.capped = False
        self.latencies: list[float] = []
        self.errors: Counter[str] = Counter()

    def numbers(self) -> Iterator[str]:
        """Yield the numbers until all are given or the time is over."""
        for index in range(self._requests):
            if time.perf_counter() > self.ends:
                self.capped = True
                return
            yield number(index)


Run: TypeAlias = Callable[[Load], Awaitable[None]]
Post: TypeAlias = Callable[[str], Awaitable[int]]
Making: TypeAlias = Callable[[Job], AbstractAsyncContextManager[Run]]


def _gathered(post: Post, concurrency: int | None) -> Run:
    """Return a run of a task per number; without a concurrency, all at once and none cut short."""

    async def run(load: Load) -> None:
        semaphore = asyncio.Semaphore(concurrency or 1_000_000)

        async def one(msisdn: str) -> None:
            async with semaphore:
                if concurrency and time.perf_counter() > load.ends:
                    load.capped = True
                    return
                began = time.perf_counter()
                try:
                    status = await post(msisdn)
                except Exception as exc:  # noqa: BLE001  # whatever it is, it is shown
                    load.errors[type(exc).__name__] += 1
                    return
                if status == 200:
                    load.latencies.append(time.perf_counter() - began)
                else:
                    load.errors[f"HTTP {status}"] += 1

        await asyncio.gather(*(one(msisdn) for msisdn in load.numbers()))

    return run


def _httpx_settings(library: Any, job: Job) -> dict[str, Any]:
    limits = library.Limits(max_connections=job.concurrency, max_keepalive_connections=job.concurrency)
    context = job.ssl_context
    tls = {} if context is None else {"verify": context}
    return {"limits": limits, "timeout": library.Timeout(30.0, pool=None), **tls}


def _like_httpx(
    package: str,
    client: str = "AsyncClient",
    types: str | None = None,
    *,
    retried: bool = False,
    bare: bool = False,
) -> Making:
    """Make a contender of a client with httpx's interface, whose `Limits` and `Timeout` are in `types`.

    A bare one is `gather` and nothing else: the library's default limits, and its pool is the queue.
    """

    @asynccontextmanager
    async def made(job: Job) -> AsyncGenerator[Run, None]:
        library = import_module(types or package)
        # With the default of 5 s most calls of a bare one would end in a PoolTimeout, and finish nothing.
        settings = {"timeout": library.Timeout(60.0, pool=None)} if bare else _httpx_settings(library, job)
        async with getattr(import_module(package), client)(**settings) as opened:

            async def post(msisdn: str) -> int:
                response = await opened.post(job.base_url + PATH, json=payload(msisdn))
                response.json()
                return int(response.status_code)

            if retried:
                import stamina

                post = stamina.retry(on=library.HTTPError, attempts=4)(post)
            yield _gathered(post, None if bare else job.concurrency)

    return made


@asynccontextmanager
async def _aiohttp(job: Job) -> AsyncGenerator[Run, None]:
    import aiohttp

    connector = aiohttp.TCPConnector(limit=job.concurrency, ssl=job.ssl_context or True)
    async with aiohttp.ClientSession(connector=connector) as client:

        async def post(msisdn: str) -> int:
            async with client.post(job.base_url + PATH, json=payload(msisdn)) as response:
                await response.json()
                return response.status

        yield _gathered(post, job.concurrency)


@asynccontextmanager
async def _pyreqwest(job: Job) -> AsyncGenerator[Run, None]:
    """Use reqwest, in Rust, whose own threads do a part of the work."""
    from datetime import timedelta

    from pyreqwest.client import ClientBuilder

    builder = ClientBuilder().timeout(timedelta(seconds=30)).max_connections(job.concurrency)
    if job.authority is not None:
        builder = builder.add_root_certificate_pem(job.authority.encode())
    async with builder.build() as client:

        async def post(msisdn: str) -> int:
            response = await client.post(job.base_url + PATH).body_json(payload(msisdn)).build().send()
            await response.json()
            return int(response.status)

        yield _gathered(post, job.concurrency)


@asynccontextmanager
async def _ours(job: Job, *, transport: Any = None, store: Any = None) -> AsyncGenerator[Run, None]:
    from gateway360_async import Gateway360Client, Ok
    from gateway360_async.transports import DirectTransport

    context = job.ssl_context
    async with Gateway360Client(
        API_KEY,
        sender=SENDER,
        base_url=job.base_url,
        concurrency=job.concurrency,
        transport=transport or (DirectTransport(verify=context) if context else None),
        store=store,
    ) as client:

        async def run(load: Load) -> None:
            async with client.batch(load.numbers(), name=f"run {time.time_ns()}" if store else None) as batch:
                async for item in batch:
                    if isinstance(item.result, Ok):
                        load.latencies.append(item.result.elapsed)
                    else:
                        load.errors[str(getattr(item.result, "kind", type(item.result).__name__))] += 1

        yield run


@asynccontextmanager
async def _ours_httpx(job: Job) -> AsyncGenerator[Run, None]:
    import httpx

    async with (
        httpx.AsyncClient(**_httpx_settings(httpx, job)) as client,
        _ours(job, transport=client) as run,
    ):
        yield run


@asynccontextmanager
async def _ours_stored(job: Job) -> AsyncGenerator[Run, None]:
    """Use a `SqliteStore`: each claim is on the disk before its request, and each result after."""
    from gateway360_async.stores import SqliteStore

    with tempfile.TemporaryDirectory(prefix="gateway360-bench-") as folder:
        async with _ours(job, store=SqliteStore(f"{folder}/bench.db")) as run:
            yield run


class _FloorConnection(asyncio.Protocol):
    def __init__(self, request: bytes) -> None:
        self._request = request
        self._received = b""
        self._began = 0.0
        self._done: asyncio.Future[None] | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def start(self, load: Load, numbers: Iterator[str]) -> asyncio.Future[None]:
        self._load, self._numbers = load, numbers
        self._done = asyncio.get_running_loop().create_future()
        self._next()
        return self._done

    def _next(self) -> None:
        if next(self._numbers, None) is None:
            self._done.set_result(None)
            return
        self._began = time.perf_counter()
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        received = self._received + data if self._received else data
        end = received.find(b"\r\n\r\n")
        at = received.find(b"content-length:") + len(b"content-length:")
        if end < 0 or len(received) < end + 4 + int(received[at : received.find(b"\r\n", at)]):
            self._received = received
            return
        self._received = b""
        self._load.latencies.append(time.perf_counter() - self._began)
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(exc or ConnectionResetError())


@asynccontextmanager
async def _floor(job: Job) -> AsyncGenerator[Run, None]:
    loop = asyncio.get_running_loop()
    address = urlsplit(job.base_url)
    body = json.dumps(payload("34600000000"), separators=(",", ":")).encode()
    request = (
        b"POST %s HTTP/1.1\r\nhost: %s\r\ncontent-type: application/json\r\naccept: application/json\r\n"
        b"accept-encoding: identity\r\ncontent-length: %d\r\n\r\n%s"
        % (PATH.encode(), address.netloc.encode(), len(body), body)
    )
    connections = [_FloorConnection(request) for _ in range(job.concurrency)]
    for connection in connections:
        where = {"host": address.hostname, "port": address.port, "ssl": job.ssl_context}
        await loop.create_connection(lambda made=connection: made, **where)

    async def run(load: Load) -> None:
        numbers = load.numbers()
        await asyncio.gather(*(connection.start(load, numbers) for connection in connections))

    yield run
    for connection in connections:
        connection.transport.close()
    await asyncio.sleep(0)


CONTENDERS: Final[dict[str, tuple[str, Making]]] = {
    "httpx-gather": ("httpx, bare gather", _like_httpx("httpx", bare=True)),
    "httpx": ("httpx + semaphore", _like_httpx("httpx")),
    "httpx-stamina": ("httpx + semaphore + stamina", _like_httpx("httpx", retried=True)),
    "httpx2": ("httpx2 + semaphore", _like_httpx("httpx2")),
    "httpx-aiohttp": (
        "httpx over httpx-aiohttp + semaphore",
        _like_httpx("httpx_aiohttp", "HttpxAiohttpClient", "httpx"),
    ),
    "aiohttp": ("aiohttp + semaphore + json=", _aiohttp),
    "pyreqwest": ("pyreqwest + semaphore", _pyreqwest),
    "ours": ("ours, as it comes", _ours),
    "ours-httpx": ("ours, over a ready httpx.AsyncClient", _ours_httpx),
    "ours-stored": ("ours, with a SqliteStore", _ours_stored),
    "floor": ("floor: bare protocol, prepared bytes", _floor),
}
"""By name: the label in a report, and the making, as a context manager that yields a run."""

LABELS: Final = {name: label for name, (label, _) in CONTENDERS.items()}


async def load(
    contender: str,
    requests: int,
    warm_up: int,
    *,
    collector: bool = True,
    profile: bool = False,
    **settings: Any,
) -> dict[str, Any]:
    """Send, and return the figures, or with `profile` where the time goes; without `collector` no garbage is collected.

    In the time is everything from the first number to the last result. Not in it: the interpreter's start, the imports,
    the making of the client, and the warm-up.
    """
    job = Job(**settings)
    async with CONTENDERS[contender][1](job) as run:
        if warm_up:
            await run(Load(warm_up, job.cap))
        sent = Load(requests, job.cap)
        if not collector:
            gc.disable()
        profiler = cProfile.Profile() if profile else None
        clock = Clock()
        async with metered(clock) as figures:
            with profiler or nullcontext():
                await run(sent)
    if profiler is not None:
        from .own import profile_text

        return {"profile": profile_text(profiler)}
    return {
        **clock.per(len(sent.latencies)),
        "p50_ms": percentile(sent.latencies, 0.5),
        "p99_ms": percentile(sent.latencies, 0.99),
        **figures,
        "errors": sent.errors,
        "capped": sent.capped,
    }
