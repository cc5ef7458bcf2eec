"""Idempotency records in Redis 6.2 and later, or in Valkey: for machines that share one.

Invariants:

- A method is one script, which is asked once. Its caller asks again where the answer is lost: that changes nothing.
- All keys begin with `gateway360:{<namespace>}:`. The part in braces decides a cluster's node: all are on one.
- No error shows the URL, which may hold a password; no text of one shows a script's arguments.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import secrets
import ssl
from binascii import hexlify
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final, cast

from redis import asyncio as redis_asyncio
from redis import exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from .._aio import shield_until_done
from .._exceptions import InvalidConfiguration, StoreError, wrong_setting
from .._redaction import Secret, SecretBytes
from ._base import Answer, Claim, Completion, Identity, Record, State, Store, lost
from ._redis_scripts import SCRIPT, SHA

__all__ = ["RedisStore"]

# The types of redis-py change from version to version, so none of them is relied on.
_redis: Any = redis_asyncio

_LONGEST_EXCHANGE: Final = 2.0
"""Seconds that one exchange lasts at most: a connection that is dead is left for another one."""
_EXPECTED: Final = "a URL of Redis: redis://…, rediss://… (TLS) or unix://…; or a ready `redis.asyncio.Redis` or `RedisCluster`"
_LETTERS: Final = {State.COMPLETED: "C", State.IN_DOUBT: "D", State.FREE: "F"}
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

_NAME: Final = re.compile(r"(?:^|: -?)([A-Z]{3,})\b")
"""The name in an error's text. Redis 6.2 puts it behind the place in the script."""
_DENIED: Final = re.compile(r"ACL failure|user executing the script")
"""The text where a user may run a script, and not all of its commands."""
_UNNAMED: Final = {
    "AskError": "ASK",
    "ClusterDownError": "CLUSTERDOWN",
    "MasterDownError": "MASTERDOWN",
    "MovedError": "MOVED",
    "NoPermissionError": "NOPERM",
    "OutOfMemoryError": "OOM",
    "ReadOnlyError": "READONLY",
    "TryAgainError": "TRYAGAIN",
}
"""Errors that redis-py gives without their name, in some versions."""
_PASSING: Final = frozenset(
    ("BUSY", "CLUSTERDOWN", "MASTERDOWN", "MISCONF", "NOREPLICAS", "OOM", "READONLY", "TRYAGAIN")
)
"""The names of errors that are over when room is made, or when Redis is done."""
_ERRORS: Final = (exceptions.RedisError, exceptions.RedisClusterException, OSError)
_AWAY: Final = (exceptions.ConnectionError, exceptions.TimeoutError, *_ERRORS[1:])

_NO_FILE: Final = "Redis keeps no append-only file: its end forgets what was sent. Set `appendonly yes`"
_LATE: Final = (
    "Redis writes to the disk late: a power failure forgets what was sent. Set `appendfsync always`"
)
_EVICTS: Final = (
    "Redis gives up keys when its memory is full, and forgets. Set `maxmemory-policy noeviction`, not {}"
)
_REPLICAS: Final = (
    "Redis answers before its replicas ({}) have what it wrote: a failover may forget what was sent last, which may "
    "then be sent again. A `PostgresStore` with synchronous standbys forgets nothing"
)


class RedisStore(Store):
    """Idempotency records in Redis, for machines that share one.

    Args:
        url: Its URL: `redis://`, `rediss://` (TLS) or `unix://`. Or a ready `redis.asyncio.Redis` (Sentinel's
            `master_for` gives one) or `redis.asyncio.RedisCluster`, which stays the caller's to close.
        namespace: As for every `Store`. Its keys begin with `gateway360:{<namespace>}:`.
        ttl: As for every `Store`.
        timeout: As for every `Store`.

    Raises:
        InvalidConfiguration: A setting is wrong; `.setting` names it.
    """

    def __init__(
        self, url: object, *, namespace: str = "gateway360", ttl: float = 604_800.0, timeout: float = 2.0
    ) -> None:
        place = _checked(url)
        del url  # or a traceback with local variables would show its password
        super().__init__(namespace=namespace, ttl=ttl, timeout=timeout)
        if isinstance(place, InvalidConfiguration):
            raise place
        self._place = place
        self._client: Any = None
        self._longest = min(_LONGEST_EXCHANGE, max(0.1, self.timeout))
        self._prefix = f"gateway360:{{{namespace}}}:".encode()
        self._shared = (self._prefix + b"identity", self._prefix + b"withdrawn")
        self._records = self._prefix + b"record:"

    async def _open(self, known: Identity | None) -> Identity:
        if isinstance(self._place, Secret) and self._client is None:
            # In no variable: in some versions, the `repr` of a pool or of a client shows the password.
            self._client = _redis.Redis(connection_pool=_pool(self._place, self._longest))
            if (trouble := _trouble_with_tls(self._client.connection_pool.connection_kwargs)) is not None:
                raise trouble
        self._client = self._client or self._place
        if known is not None:
            await self.now()
            return known
        fresh = SecretBytes(f"{secrets.token_hex(8)}:{secrets.token_hex(32)}".encode())
        (held,) = await self._run("open", "", fresh)
        found = re.fullmatch("([0-9a-f]{16}):([0-9a-f]{64})", _text(held))
        if found is None:
            raise StoreError("holds another application's data under its keys", "a namespace of its own")
        return Identity(found[1], bytes.fromhex(found[2]))

    async def _close(self) -> None:
        client, self._client = self._client, None
        if isinstance(self._place, Secret) and client is not None:
            closing = asyncio.ensure_future(client.connection_pool.disconnect())
            if (cancelled := await shield_until_done(closing)) is not None:
                raise cancelled

    async def claim(self, claims: Sequence[Claim]) -> list[Answer]:
        keys: list[bytes] = []
        items: list[list[Any]] = []
        for claim in claims:
            counts: list[tuple[int, Any]] = []
            items.append([*self._item(claim, keys), claim.resend, claim.replace, counts])
            for count in claim.counts:
                keys.append(self._key("count", count.key))
                counts.append((count.most, count.window is not None and _milliseconds(count.window)))
                if count.window is None:
                    keys.append(self._key("total", count.key))
        answers: list[Answer] = []
        for claim, found in zip(claims, await self._ask("claim", items, *keys), strict=True):
            if found == 0 or isinstance(found, list):
                answers.append(_answer(found))
            else:
                before = None if found == 1 else _text(found)
                answers.append(
                    Answer(state=State.CLAIMED, token=claim.token, report_id=claim.report_id, result=before)
                )
        return answers

    async def complete(self, completions: Sequence[Completion]) -> list[bool]:
        keys: list[bytes] = []
        items: list[list[Any]] = []
        for one in completions:
            end = _LETTERS[one.state], one.result, one.withdrawn, len(one.give_back)
            items.append([*self._item(one.claim, keys), *end])
            keys += [self._key("count", count.key) for count in one.give_back]
        return [done == 1 for done in await self._ask("complete", items, *keys)]

    async def renew(self, claims: Sequence[Claim]) -> list[bool]:
        keys: list[bytes] = []
        items = [self._item(claim, keys) for claim in claims]
        return [done == 1 for done in await self._ask("renew", items, *keys)]

    async def peek(self, records: Sequence[Record]) -> list[Answer]:
        keys: list[bytes] = []
        items = [self._record(record, keys) for record in records]
        return [_answer(found) for found in await self._ask("peek", items, *keys)]

    async def permits(self, key: bytes, count: int, interval: float) -> tuple[int, float]:
        ((granted, delay),) = await self._ask("permits", [(interval * 1e6, count)], self._key("permit", key))
        return granted, delay / 1e6

    async def header(self, key: bytes, value: str, *, replace: bool = False) -> str:
        (held,) = await self._ask("header", [(value, replace)], self._key("header", key))
        return cast("str", _text(held))

    async def now(self) -> float:
        (now,) = await self._ask("now", [0])
        return cast("int", now) / 1e6

    async def new_epoch(self) -> str:
        epoch = secrets.token_hex(8)
        await self._ask("new_epoch", [epoch])
        return epoch

    async def check(self) -> list[str]:
        await self.now()
        info = await self._ask_server("info", "everything")
        if not info:
            return []
        syncs = (await self._ask_server("config_get", "appendfsync")).get("appendfsync", "always")
        policy, replicas = info.get("maxmemory_policy"), info.get("connected_slaves")
        troubles = {
            _NO_FILE: not info.get("aof_enabled"),
            _LATE: info.get("aof_enabled") and syncs != "always",
            _EVICTS.format(policy): info.get("maxmemory") and policy != "noeviction",
            _REPLICAS.format(replicas): replicas,
        }
        return [trouble for trouble, is_there in troubles.items() if is_there]

    async def _ask_server(self, command: str, about: str) -> dict[str, Any]:
        """Run a command that few users may; return nothing where this one may not."""
        node: dict[str, Any] = {}
        if isinstance(self._client, _redis.RedisCluster):
            node["target_nodes"] = self._client.get_node_from_key(self._shared[0].decode())
        try:
            told = await self._exchange(lambda: getattr(self._client, command)(about, **node))
        except StoreError as exc:
            if exc.passing:
                raise
            return {}
        return {_text(name): _text(value) for name, value in told.items()}

    # JSON's `null` would be true in Lua: in what the script is given, nothing is `False`.

    def _key(self, kind: str, key: bytes) -> bytes:
        return b"%s%s:%s" % (self._prefix, kind.encode(), hexlify(key))

    def _record(self, record: Record | None, keys: list[bytes]) -> Any:
        if record is None:
            return False
        keys.append(self._records + hexlify(record.key))
        return _milliseconds(record.ttl), record.forgets, record.fingerprint.hex()

    def _item(self, claim: Claim, keys: list[bytes]) -> list[Any]:
        report_id = False if claim.report_id is None else claim.report_id
        records = self._record(claim.record, keys), self._record(claim.cooldown, keys)
        return [claim.token, _milliseconds(claim.lease), report_id, claim.force, *records]

    async def _ask(self, step: str, items: Sequence[Any], *keys: bytes) -> Any:
        """Run a step on a list, and return the answer to each item. Raises `StoreError`."""
        answer = await self._run(step, self._known().epoch, _encode(items).encode(), *keys)
        if _text(answer) == "lost":
            raise lost()
        return answer

    async def _run(self, step: str, epoch: str, items: bytes, *keys: bytes) -> Any:
        execute = _executor(self._client)
        given = (len(keys) + 2, *self._shared, *keys, step, epoch, items)

        async def run() -> Any:
            with suppress(exceptions.NoScriptError):
                return await execute("EVALSHA", SHA, *given)
            return await execute("EVAL", SCRIPT, *given)

        return await self._exchange(run)

    async def _exchange(self, run: Callable[[], Awaitable[Any]]) -> Any:
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        cancelling = task.cancelling()
        error: StoreError | None = None
        answer: Any = None
        try:
            async with asyncio.timeout(self._longest):
                answer = await run()
        except _ERRORS as exc:
            error = _explained(exc)
        if task.cancelling() > cancelling:
            # redis-py sends within `asyncio.wait_for`, which before Python 3.12 swallows a cancellation that comes in
            # the moment of its end (python/cpython#81839).
            raise asyncio.CancelledError
        if error is not None:
            # Not within the handler: the frames of redis-py, which hold the password, are not to hang on it.
            raise error
        return answer


def _checked(place: object) -> Any:
    """Return a ready client, a URL in a `Secret`, or the error to raise once the URL, with its password, is dropped."""
    if isinstance(place, (_redis.Redis, _redis.RedisCluster)):
        return place
    if not isinstance(place, str):
        return wrong_setting("url", place, _EXPECTED)
    secret = Secret(place)
    try:
        # Nothing connects yet: a URL is taken apart, and a connection made of its parts.
        _pool(secret, _LONGEST_EXCHANGE).make_connection()
    except (AttributeError, TypeError, ValueError, exceptions.RedisError):
        # A part that is no part of a URL, or an option that no connection has, or not in this form.
        return InvalidConfiguration("url", "is no URL of Redis", _EXPECTED)
    return secret


def _pool(url: Secret, longest: float) -> Any:
    # No retries of redis-py's own: how often it tries by itself differs from version to version. Its timeout of reading
    # and writing would be one more timer: the exchange has one.
    return _redis.ConnectionPool.from_url(
        url.reveal(), socket_timeout=None, socket_connect_timeout=longest, retry=Retry(NoBackoff(), 0)
    )


def _executor(client: Any) -> Callable[..., Awaitable[Any]]:
    """Keep a client from the frames of a traceback. Answers are bytes, whatever it was made to give."""
    return lambda *given: client.execute_command(*given, NEVER_DECODE=[])


def _trouble_with_tls(options: dict[str, Any]) -> InvalidConfiguration | None:
    """Check the files that a URL names for TLS: redis-py would only say that it has no connection."""
    authority, certificate = options.get("ssl_ca_certs"), options.get("ssl_certfile")
    key = options.get("ssl_keyfile") or certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    named = authority
    try:
        if authority:
            context.load_verify_locations(authority)
        named = f"{certificate} or {key}"
        if certificate:
            context.load_cert_chain(certificate, key, options.get("ssl_password") or "")
    except OSError as exc:  # as ssl.SSLError is
        problem = f"names {named}, which cannot be read ({exc.strerror or type(exc).__name__})"
        return InvalidConfiguration("url", problem, "files that this user may read, in the format PEM")
    return None


def _explained(error: BaseException) -> StoreError:
    """Translate redis-py's error. Its text may quote a command: only the error's name (`OOM`) is shown."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            problem = f"shows a certificate that is not trusted ({cause.verify_message})"
            return StoreError(problem, "?ssl_ca_certs=FILE in the URL, with the authority that signed it")
        if isinstance(cause, (exceptions.AuthenticationError, exceptions.AuthorizationError)):
            return StoreError(f"refuses ({type(cause).__name__})", "a URL with the right user and password")
        cause = cause.__cause__ or cause.__context__
    named = _NAME.search(str(error))
    name = _UNNAMED.get(type(error).__name__) or (named[1] if named else type(error).__name__)
    expected = "one that is up, and takes what it is told"
    if name in ("ASK", "MOVED"):
        name, expected = "a Redis Cluster", "a ready `redis.asyncio.RedisCluster` client in the URL's place"
    elif name == "NOPERM" or _DENIED.search(str(error)):
        name, expected = "NOPERM", "a user with `~gateway360:* +@all -@admin -@dangerous`"
    elif name not in _PASSING and isinstance(error, _AWAY):
        # Of a connection that was refused, redis-py hides why.
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
        return StoreError(f"cannot be asked ({type(cause).__name__})", expected, passing=True)
    return StoreError(f"refuses ({name})", expected, passing=name in _PASSING)


def _text(value: Any) -> Any:
    # A ready client decodes what is asked by its own methods, where it was made to.
    return value.decode() if isinstance(value, bytes) else value


def _answer(found: Any) -> Answer:
    if not found:
        return Answer(state=State.FREE)
    state, token, result, report_id, left, mismatch, cooldown, *limit = map(_text, found)
    return Answer(
        state=State(state),
        token=token,
        result=result,
        report_id=report_id,
        remaining=left / 1e6,
        mismatch=mismatch == 1,
        cooldown=cooldown == 1,
        limit=limit[0] if limit else None,
    )


def _milliseconds(seconds: float) -> int:
    """Return whole milliseconds, rounded up, at most a hundred years."""
    return min(3_155_760_000_000, math.ceil(seconds * 1000))
