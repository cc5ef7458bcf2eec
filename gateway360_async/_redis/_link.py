"""The way to Redis: scripts that are run there, through its absences.

Rules of this module:

- A script may be asked twice for the same thing, when its answer was lost: every script of ours is written so that the
  second time changes nothing.
- What may be over in a moment (no connection, a Redis that is loading its data, one whose memory or disk is full, a
  replica that is about to be the primary) is asked again for as long as the caller has patience; everything else is an error at once.
- No error shows the URL, which may hold a password, nor a script's arguments.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib.resources import files
from random import random
from typing import Any, Final, cast

from redis import asyncio as redis_asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
)
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import TimeoutError as TookTooLong

from .._errors import FleetError, InvalidConfiguration
from .._secret import Secret
from .._waiting import uninterrupted
from ._health import troubles_of

__all__ = ["Link", "checked_url"]

# The types of redis-py change from version to version, so none of them is relied on.
_redis: Any = redis_asyncio

_CONNECTIONS: Final = 32
"""Connections of one process at most: an exchange with Redis takes a fraction of one with the gateway."""
_TIMEOUT: Final = 2.0
"""Seconds in which Redis connects, and answers."""
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0
_PASSING: Final = frozenset({"OOM", "MISCONF", "BUSY", "NOREPLICAS", "MASTERDOWN", "READONLY", "TRYAGAIN"})
"""What Redis calls the errors that are over when somebody makes room, or when it is done."""
_URL_EXPECTED: Final = "a URL of Redis: redis://…, rediss://… (TLS) or unix://…"


@cache
def _source(name: str) -> str:
    return files(__package__ or "").joinpath(f"{name}.lua").read_text("utf-8")


def checked_url(url: object) -> Secret | InvalidConfiguration:
    """Check a Redis URL, which may hold a password, and wrap it; or give what its caller raises.

    Given rather than raised, so that the caller can drop the URL first: a traceback with local variables shows none.
    """
    if not isinstance(url, str):
        return InvalidConfiguration("url", f"is of type {type(url).__name__}", _URL_EXPECTED)
    try:
        # Nothing connects yet: a URL is taken apart, and a connection made of its parts.
        pool = _redis.BlockingConnectionPool.from_url(url)
        pool.connection_class(**pool.connection_kwargs)
    except (AttributeError, TypeError, ValueError, RedisError):
        # A part that is no part of a URL, or an option that no connection has, or not in this form.
        return InvalidConfiguration("url", "is no URL of Redis", _URL_EXPECTED)
    return Secret(url)


class Link:
    """A process' way to one Redis.

    Args:
        url: Where it is.
        memory: The key of its memory's id.
        account: What stands for the account and its gateway: all who share a memory have the same.
    """

    def __init__(self, url: Secret, memory: str, account: str = "") -> None:
        # No retries of redis-py's own: how often it tries by itself differs from version to version.
        pool = _redis.BlockingConnectionPool.from_url(
            url.reveal(),
            max_connections=_CONNECTIONS,
            timeout=None,
            socket_timeout=_TIMEOUT,
            socket_connect_timeout=_TIMEOUT,
            retry=Retry(NoBackoff(), 0),
        )
        # Scripts answer in bytes, whatever the URL asks for.
        pool.connection_kwargs["decode_responses"] = False
        self._redis = _redis.Redis(connection_pool=pool)
        self._memory_key = memory
        self._account = account
        self._memory: str | None = None
        self._opening: asyncio.Future[str] | None = None
        self._scripts: dict[str, Any] = {}

    def __repr__(self) -> str:
        return "<Link>"

    async def aclose(self) -> None:
        """Close the connections."""
        if self._opening is not None:
            self._opening.cancel()
            await uninterrupted(self._opening)
        await self._redis.connection_pool.disconnect()

    async def memory(self, *, patience: float) -> str:
        """The id of the memory that this process began with, which is asked for and checked once.

        Raises:
            FleetError: Redis cannot be asked.
            InvalidConfiguration: It is a cluster, over whose nodes no script reaches.
        """
        if self._memory is not None:
            return self._memory
        if self._opening is None:
            self._opening = asyncio.ensure_future(self._open(patience))
            self._opening.add_done_callback(self._opened)
        # Whoever waits can be cancelled without taking the others' wait along. Who comes between its end and the
        # callback gets the result at once: asking again until the callback has run would never let it run.
        return await asyncio.shield(self._opening)

    def _opened(self, opening: asyncio.Future[str]) -> None:
        self._opening = None
        if not opening.cancelled() and opening.exception() is None:
            self._memory = opening.result()

    async def _open(self, patience: float) -> str:
        await self._with_patience(lambda: troubles_of(self._redis), patience)
        new = f"{secrets.token_hex(8)}:{self._account}"
        found = cast("bytes", await self.run("memory", [self._memory_key], [new], patience=patience))
        memory = found.decode()
        if memory.partition(":")[2] != self._account:
            # Its workers would send with their account what this one enqueues, and neither would know of the other.
            problem = "holds a fleet of this name with another API key, or of another gateway"
            raise FleetError(problem, "a name of its own for each of them: Fleet(…, name=…)")
        return memory

    async def troubles(self) -> list[str]:
        """Say what is wrong with how Redis is set up, a sentence each. Raises `FleetError`."""
        troubles: list[str] = await self._with_patience(lambda: troubles_of(self._redis), 0.0)
        return troubles

    async def run(self, script: str, keys: Sequence[str], args: Iterable[object], *, patience: float) -> Any:
        """Run a script.

        Args:
            script: Its name.
            keys: The keys that it touches.
            args: What else it is given.
            patience: Seconds for which it is tried again while Redis is away.

        Raises:
            FleetError: Redis is away, or refuses.
        """
        known = self._scripts.get(script)
        if known is None:
            known = self._scripts[script] = self._redis.register_script(_source(script))
        given = list(args)
        return await self._with_patience(lambda: known(keys=keys, args=given), patience)

    async def _with_patience(self, ask: Callable[[], Any], patience: float) -> Any:
        loop = asyncio.get_running_loop()
        until = loop.time() + patience
        pause = _FIRST_PAUSE
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        cancelling = task.cancelling()
        while True:
            error: FleetError | None = None
            answer: Any = None
            try:
                answer = await ask()
            except (NoConnection, TookTooLong, ReadOnlyError, OSError) as exc:
                cause = exc.__cause__ or exc  # of a connection that was refused, redis-py hides why
                name = type(cause).__name__
                if isinstance(cause, (AuthenticationError, AuthorizationError)):
                    error = FleetError(f"refuses ({name})", "a URL with the right user and password")
                else:
                    error = FleetError(f"cannot be asked ({name})", "one that is up", passing=True)
            except RedisError as exc:
                # Its text may quote a command: the first word is Redis' own name of the error (`OOM`, `NOPERM`).
                word = str(exc).split(" ", 1)[0]
                name = word if word.isupper() else type(exc).__name__
                passing = word in _PASSING or isinstance(exc, OutOfMemoryError)
                error = FleetError(f"refuses ({name})", "one that takes what it is told", passing=passing)
            if task.cancelling() > cancelling:
                # redis-py sends within `asyncio.wait_for`, which before Python 3.12 swallows a cancellation that comes
                # in the moment of its end (python/cpython#81839).
                raise asyncio.CancelledError
            if error is None:
                return answer
            left = until - loop.time()
            if left <= 0 or not error.passing:
                # Not within the handlers: the frames of redis-py, which hold the password, are not to hang on it.
                raise error
            # Not all at the same moment: whoever waits for a Redis that restarts has waited as long as the others.
            await asyncio.sleep(min(left, pause * (0.5 + random() / 2)))  # noqa: S311  # no secret
            pause = min(_LONGEST_PAUSE, pause * 2)
