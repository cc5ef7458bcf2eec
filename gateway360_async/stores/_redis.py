"""Idempotency records in Redis 6.2 and later, or in Valkey: for machines that share one.

Invariants:

- A method is one script, which is asked once. Where its answer is lost, the caller asks again: that changes nothing.
- All keys begin with `gateway360:{<namespace>}:`. The part in braces decides a cluster's node: all are on one.
- No error shows the URL, which may hold a password; no text of one shows a script's arguments.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import ssl
from binascii import hexlify
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, cast

from redis import asyncio as redis_asyncio
from redis import exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from .._errors import InvalidConfiguration, StoreError
from .._secret import Secret, SecretBytes
from .._waiting import uninterrupted
from . import _redis_scripts as scripts
from ._base import Answer, Claim, Completion, Identity, Record, State, Store, milliseconds

__all__ = ["RedisStore"]

# The types of redis-py change from version to version, so none of them is relied on.
_redis: Any = redis_asyncio

_LONGEST_EXCHANGE: Final = 2.0
"""Seconds that one exchange lasts at most: a connection that is dead is left for another one."""
_EXPECTED: Final = "a URL of Redis: redis://…, rediss://… (TLS) or unix://…; or a ready `redis.asyncio.Redis` or `RedisCluster`"
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_LETTERS: Final = {State.COMPLETED: "C", State.IN_DOUBT: "D", State.FREE: "F"}

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
_AWAY: Final = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.RedisClusterException,
    OSError,
)

_NO_FILE: Final = "Redis keeps no append-only file: its end forgets what was sent. Set `appendonly yes`"
_NOT_ALWAYS: Final = (
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
        url: Where it is: `redis://`, `rediss://` (TLS) or `unix://`. Or a ready `redis.asyncio.Redis` (Sentinel's
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
        self._records, self._counts = self._prefix + b"record:", self._prefix + b"count:"

    def __repr__(self) -> str:
        return (
            f"RedisStore(namespace={getattr(self, 'namespace', None)!r})"  # a traceback may show half a store
        )

    async def _open(self, known: Identity | None) -> Identity:
        if isinstance(self._place, Secret) and self._client is None:
            # In no variable: in some versions, the `repr` of a pool or of a client shows the password.
            self._client = _redis.Redis(connection_pool=_pool(self._place, self._longest))
            if (trouble := _trouble_with_tls(self._client.connection_pool.connection_kwargs)) is not None:
                raise trouble
        self._client = self._client or self._place
        fresh = SecretBytes(f"{secrets.token_hex(8)}:{secrets.token_hex(32)}".encode())
        identity = _identity(*await self._run(scripts.IDENTITY, (), ("", fresh)))
        if identity is None:
            raise StoreError("holds another application's data under its keys", "a namespace of its own")
        if known is not None and known.epoch != identity.epoch:
            raise _lost()
        return identity

    async def _close(self) -> None:
        client, self._client = self._client, None
        if isinstance(self._place, Secret) and client is not None:
            closing = asyncio.ensure_future(client.connection_pool.disconnect())
            if (cancelled := await uninterrupted(closing)) is not None:
                raise cancelled

    async def claim(self, claims: Sequence[Claim]) -> list[Answer]:
        keys: list[bytes] = []
        args: list[Any] = [len(claims)]
        for claim in claims:
            args += (claim.token, milliseconds(claim.lease), _optional(claim.report_id))
            args += (claim.resend or "", claim.replace or "", _flag(claim.force))
            self._add_records(claim, keys, args)
            args.append(len(claim.counts))
            for count in claim.counts:
                keys.append(self._counts + hexlify(count.key))
                args += (count.most, "" if count.window is None else milliseconds(count.window))
                if count.window is None:
                    keys.append(self._prefix + b"total:" + hexlify(count.key))
        found = await self._ask(scripts.CLAIM, keys, args)
        return [
            Answer(state=State.CLAIMED, token=claim.token, report_id=claim.report_id)
            if answer == 1
            else _answer(answer)
            for claim, answer in zip(claims, found, strict=True)
        ]

    async def complete(self, completions: Sequence[Completion]) -> list[bool]:
        keys: list[bytes] = []
        args: list[Any] = [len(completions)]
        for completion in completions:
            claim = completion.claim
            args += (claim.token, _optional(claim.report_id), _LETTERS[completion.state])
            args += (completion.result, _flag(claim.force), _flag(completion.withdrawn))
            self._add_records(claim, keys, args)
            args.append(len(completion.give_back))
            keys += [self._counts + hexlify(count.key) for count in completion.give_back]
        return [done == 1 for done in await self._ask(scripts.COMPLETE, keys, args)]

    async def renew(self, claims: Sequence[Claim]) -> list[bool]:
        keys: list[bytes] = []
        args: list[Any] = [len(claims)]
        for claim in claims:
            args += (claim.token, milliseconds(claim.lease))
            self._add_records(claim, keys, args)
        return [done == 1 for done in await self._ask(scripts.RENEW, keys, args)]

    def _add_records(self, claim: Claim, keys: list[bytes], args: list[Any]) -> None:
        for record in (claim.record, claim.cooldown):
            if record is None:
                args.append("")
            else:
                keys.append(self._records + hexlify(record.key))
                args += (milliseconds(record.ttl), _flag(record.forgets), record.fingerprint.hex())

    async def peek(self, records: Sequence[Record]) -> list[Answer]:
        keys = [self._records + hexlify(record.key) for record in records]
        found = await self._ask(scripts.PEEK, keys, [record.fingerprint.hex() for record in records])
        return [_answer(answer) for answer in found]

    async def permits(self, key: bytes, count: int, interval: float) -> tuple[int, float]:
        keys = (self._prefix + b"permit:" + hexlify(key),)
        granted, delay = await self._ask(scripts.PERMITS, keys, (interval * 1e6, count))
        return granted, delay / 1e6

    async def header(self, key: bytes, value: str, *, replace: bool = False) -> str:
        keys = (self._prefix + b"header:" + hexlify(key),)
        (held,) = await self._ask(scripts.HEADER, keys, (value, _flag(replace)))
        return cast("str", _text(held))

    async def now(self) -> float:
        (now,) = await self._ask(scripts.NOW, (), ())
        return cast("int", now) / 1e6

    async def new_epoch(self) -> str:
        epoch = secrets.token_hex(8)
        await self._ask(scripts.NEW_EPOCH, (), (epoch,))
        return epoch

    async def check(self) -> list[str]:
        await self.now()
        info = await self._told("info", "everything")
        troubles: list[str] = []
        if info and not info.get("aof_enabled"):
            troubles.append(_NO_FILE)
        elif (
            info and (await self._told("config_get", "appendfsync")).get("appendfsync", "always") != "always"
        ):
            troubles.append(_NOT_ALWAYS)
        if info.get("maxmemory") and info["maxmemory_policy"] != "noeviction":
            troubles.append(_EVICTS.format(info["maxmemory_policy"]))
        if info.get("connected_slaves"):
            troubles.append(_REPLICAS.format(info["connected_slaves"]))
        return troubles

    async def _told(self, command: str, about: str) -> dict[str, Any]:
        """Ask what few users may; give nothing, where this one may not: nothing is guessed."""
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

    async def _ask(self, script: scripts.Script, keys: Iterable[bytes], args: Iterable[Any]) -> Any:
        self._require_owner()
        if self._client is None or self._identity is None:
            raise StoreError("is not connected", "`connect` first")
        given = _encode(list(args))
        answer = await self._run(script, keys, (self._identity.epoch, given.encode()))
        if _text(answer) == "lost":
            raise _lost()
        return answer

    async def _run(self, script: scripts.Script, keys: Iterable[bytes], args: Iterable[Any]) -> Any:
        execute = _executor(self._client)
        all_keys = (*self._shared, *keys)
        given = (len(all_keys), *all_keys, *args)

        async def run() -> Any:
            with suppress(exceptions.NoScriptError):
                return await execute("EVALSHA", script.sha, *given)
            return await execute("EVAL", script.text, *given)

        return await self._exchange(run)

    async def _exchange(self, run: Callable[[], Awaitable[Any]]) -> Any:
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        cancelling = task.cancelling()
        error: StoreError | None = None
        answer: Any = None
        try:
            async with asyncio.timeout(self._longest):
                answer = await run()
        except (exceptions.RedisError, exceptions.RedisClusterException, OSError) as exc:
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
    """Check a ready client, or a URL, which is wrapped. Gives what its caller raises: the URL may hold a password."""
    if isinstance(place, (_redis.Redis, _redis.RedisCluster)):
        return place
    if not isinstance(place, str):
        return InvalidConfiguration("url", f"is of type {type(place).__name__}", _EXPECTED)
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
    """Read the files that a URL names for TLS: redis-py would only say that it has no connection."""
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
    """Make our error of redis-py's. Its text may quote a command: of that there is the name only (`OOM`)."""
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


def _identity(held: Any) -> Identity | None:
    found = re.fullmatch("([0-9a-f]{16}):([0-9a-f]{64})", _text(held))
    return None if found is None else Identity(found[1], bytes.fromhex(found[2]))


def _lost() -> StoreError:
    return StoreError(
        "has lost its data, or is another one than when this client connected",
        "the one from before; or restart the application, if what was sent lately may be forgotten",
    )


def _optional(text: str | None) -> str:
    return "" if text is None else f"={text}"


def _flag(value: bool) -> str:
    return "1" if value else ""


def _text(value: Any) -> Any:
    # A ready client decodes what is asked by its own methods, where it was made to.
    return value.decode() if isinstance(value, bytes) else value


def _answer(found: Any) -> Answer:
    if not found:
        return Answer(state=State.FREE)
    state, token, result, report_id, left, mismatch, cooldown, limit = map(_text, found)
    return Answer(
        state=State(state),
        token=token,
        result=result,
        report_id=report_id,
        remaining=left / 1e6,
        mismatch=mismatch == 1,
        cooldown=cooldown == 1,
        limit=limit,
    )
