"""`PostgresStore`: idempotency records in PostgreSQL, for machines that share one.

The driver is psycopg 3, through its public interface of libpq (`psycopg.pq`). A step is one statement without a name,
sent in one packet, and so one transaction in one round trip, which PgBouncer can give to any of its connections. asyncpg
sends a statement and its arguments in two round trips; with a transaction around them, as PgBouncer needs it then, in four.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from inspect import iscoroutinefunction
from typing import Any, Final, Protocol, cast

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from .._errors import InvalidConfiguration, StoreError
from .._secret import Secret
from ._base import CATCH_UP, HORIZON, Answer, Claim, Completion, Identity, Record, State, Store
from ._postgres_schema import SCHEMA, VERSION

__all__ = ["SCHEMA", "PostgresStore"]

_CONNECTIONS: Final = 4
"""Connections of one store at most: a claim, a completion and a look are under way at a time, and permits."""
_LEAST_BOUND: Final = 2.0
"""Seconds in which PostgreSQL connects and answers, where `timeout` is less."""
_SETS_UP_WITHIN: Final = 60.0
"""Seconds."""
_ABSENT: Final = frozenset({"3F000", "42P01", "42883"})
"""No schema, table or function of this name."""
_PASSING: Final = frozenset(
    {"08", "53", "58", "40001", "40P01", "25006", "55P03", "57014", "57P01", "57P02", "57P03", "57P05"}
)
"""Errors, and classes of them, that are over when there is room, or another primary, or when others are done."""
_REFUSES: Final = ("authentication failed", "no password supplied", "does not exist", "no pg_hba.conf entry",
    "certificate", "not permitted to log in", "permission denied", "does not support SSL")  # fmt: skip
"""How libpq, which hides the error's code, words that a connection is refused for good."""
_RIGHTS: Final = (
    "a user with USAGE on the schema gateway360, and SELECT, INSERT, UPDATE and DELETE on its tables"
)
_EXPECTED: Final = (
    "a DSN of PostgreSQL (postgresql://…, or host=… dbname=…) or a psycopg_pool.AsyncConnectionPool"
)


class Pool(Protocol):
    """What is used of a `psycopg_pool.AsyncConnectionPool`."""

    async def getconn(self, timeout: float | None = None) -> psycopg.AsyncConnection[Any]: ...
    async def putconn(self, conn: psycopg.AsyncConnection[Any]) -> None: ...


def _checked_dsn(dsn: object) -> Secret | InvalidConfiguration:
    """Check a DSN, which may hold a password. What is wrong is given, so that the caller can drop the DSN first."""
    if not isinstance(dsn, str):
        return InvalidConfiguration("dsn", f"is of type {type(dsn).__name__}", _EXPECTED)
    try:
        conninfo_to_dict(dsn)
    except (psycopg.Error, UnicodeError):
        return InvalidConfiguration("dsn", "is no DSN of PostgreSQL", _EXPECTED)
    return Secret(make_conninfo(dsn, fallback_application_name="gateway360"))


class PostgresStore(Store):
    """A store in PostgreSQL 12 or later, for any number of machines. Its tables: `gateway360 store init URL`.

    It works behind PgBouncer in each of its modes. What it has answered survives a crash of the server, also where
    `synchronous_commit` is off. Each client has a few connections, or shares the pool that is handed in.

    Args:
        dsn: Where it is: `postgresql://…` or `host=… dbname=…`; what is missing comes from the environment (`PGHOST`,
            `PGPASSWORD`). Or an open `psycopg_pool.AsyncConnectionPool`, which the caller closes.
        namespace: As for every `Store`.
        ttl: As for every `Store`.
        timeout: As for every `Store`.

    Raises:
        InvalidConfiguration: A setting is wrong; `.setting` names it.
    """

    def __init__(
        self,
        dsn: str | Pool,
        *,
        namespace: str = "gateway360",
        ttl: float = 604_800.0,
        timeout: float = 2.0,
    ) -> None:
        self._pool: Pool | None = None
        self._dsn = Secret("")
        if iscoroutinefunction(getattr(dsn, "getconn", None)):
            self._pool = cast("Pool", dsn)
        else:
            checked = _checked_dsn(dsn)
            del dsn
            if isinstance(checked, InvalidConfiguration):
                raise checked
            self._dsn = checked
        super().__init__(namespace=namespace, ttl=ttl, timeout=timeout)
        self._bound = max(_LEAST_BOUND, self.timeout)
        self._idle: list[psycopg.AsyncConnection[Any]] = []
        self._places: asyncio.Semaphore | None = None

    def __repr__(self) -> str:
        return f"PostgresStore(namespace={self.namespace!r})"

    async def init(self) -> None:
        """Make the tables and functions (`SCHEMA`) where there are none of this version. It wants no `connect`.

        Raises:
            StoreError: They cannot be made, or are of a later version.
        """
        self._require_process()
        try:
            if await self._version() != VERSION:
                await self._run(SCHEMA, bound=_SETS_UP_WITHIN)
        finally:
            if not self._users:
                await self._close()

    async def _version(self) -> int:
        """Give the version of the tables; 0: there are none."""
        found = await self._run("SELECT to_regprocedure('gateway360.version()')::text")
        version = 0 if found is None else int(await self._run("SELECT gateway360.version()") or b"")
        if version > VERSION:
            raise StoreError(
                f"has tables of version {version}", "a gateway360-async that is as new as they are"
            )
        return version

    async def _open(self, known: Identity | None) -> Identity:
        level = await self._run("SELECT current_setting('transaction_isolation')")
        if level != b"read committed":
            cure = "ALTER ROLE … SET default_transaction_isolation = 'read committed'"
            raise StoreError(f"has the isolation level {(level or b'').decode()}", cure)
        if await self._version() != VERSION:
            raise StoreError(
                "has no tables in this database", "the ones that `gateway360 store init URL` makes"
            )
        if known is not None:
            await self._ask("now", known=known)
            return known
        found = await self._call("open", _bytes(os.urandom(8).hex()), _bytes(secrets.token_bytes(32).hex()))
        return Identity(found[0], bytes.fromhex(found[1]))

    async def _close(self) -> None:
        self._places = None
        while self._idle:
            await self._idle.pop().close()

    async def claim(self, claims: Sequence[Claim]) -> list[Answer]:
        """Claim many in one transaction."""
        if not claims:
            return await self._nothing()
        plain = all(claim.record and not claim.cooldown and not claim.counts for claim in claims)
        found = await self._ask(
            "claim", _bool(plain), _json([_item(n, claim) for n, claim in enumerate(claims)])
        )
        return [
            _answer(answer) if answer and answer[0] != "claimed" else
            Answer(state=State.CLAIMED, token=claim.token, report_id=claim.report_id, result=_text(answer and answer[2]))
            for claim, answer in zip(claims, found, strict=True)
        ]  # fmt: skip

    async def complete(self, completions: Sequence[Completion]) -> list[bool]:
        """End many claims in one transaction."""
        if not completions:
            return await self._nothing()
        plain = all(_is_plain(completion) for completion in completions)
        keys = {completion.claim.record.key for completion in completions if completion.claim.record}
        items = [_end(n, completion) for n, completion in enumerate(completions)]
        return cast(
            "list[bool]", await self._ask("complete", _bool(plain and len(keys) == len(items)), _json(items))
        )

    async def renew(self, claims: Sequence[Claim]) -> list[bool]:
        """Let leases begin anew."""
        if not claims:
            return await self._nothing()
        return cast(
            "list[bool]", await self._ask("renew", _json([_item(n, claim) for n, claim in enumerate(claims)]))
        )

    async def peek(self, records: Sequence[Record]) -> list[Answer]:
        """Look at records."""
        if not records:
            return await self._nothing()
        items = [
            {"n": n, "key": f"r{record.key.hex()}", "fingerprint": record.fingerprint.hex()}
            for n, record in enumerate(records)
        ]
        return [_answer(answer) for answer in await self._ask("peek", _json(items))]

    async def permits(self, key: bytes, count: int, interval: float) -> tuple[int, float]:
        """Grant permits of a shared rate."""
        numbers = (_bytes(repr(number)) for number in (count, float(interval), HORIZON, CATCH_UP))
        granted, seconds = await self._ask("permits", _bytes(f"p{key.hex()}"), *numbers)
        return granted, float(seconds)

    async def header(self, key: bytes, value: str, *, replace: bool = False) -> str:
        """Give the header, or set it."""
        found = await self._ask("header", _bytes(f"h{key.hex()}"), _json(value), _bool(replace))
        return cast("str", json.loads(found))

    async def now(self) -> float:
        """Give the time on the server's clock."""
        return cast("float", await self._ask("now"))

    async def new_epoch(self) -> str:
        """Set a new epoch."""
        return cast("str", await self._ask("new_epoch", _bytes(os.urandom(8).hex())))

    async def check(self) -> list[str]:
        """Say what of the promise is lost by how the server is set up. What its user may not see is not guessed."""
        await self._ask("now")
        found = await self._run(
            "SELECT json_build_array(current_setting('fsync'), current_setting('full_page_writes'),"
            " (SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = 'async'),"
            " (SELECT count(*) FROM pg_class WHERE relpersistence = 'u'"
            " AND oid IN ('gateway360.records'::regclass, 'gateway360.entries'::regclass)))"
        )
        fsync, pages, standbys, unlogged = json.loads(found or b"")
        troubles = {
            "fsync is off: a crash of the machine loses records, and may damage the tables": fsync == "off",
            "full_page_writes is off: a crash of the machine may damage the tables": pages == "off",
            f"{standbys} of its standbys are asynchronous: a failover may forget the latest records "
            "(synchronous_standby_names)": standbys,
            "its tables are unlogged: a crash empties them (ALTER TABLE … SET LOGGED)": unlogged,
        }
        return [trouble for trouble, is_there in troubles.items() if is_there]

    async def _nothing(self) -> list[Any]:
        await self._ask("now")
        return []

    async def _ask(self, function: str, *args: bytes, known: Identity | None = None) -> Any:
        """Run a step, and give its answer. Raises `StoreError`."""
        self._require_process()
        identity = known or self._identity
        if identity is None or not self._users:
            raise StoreError("is not connected", "`await store.connect()` first")
        answer = await self._call(function, identity.epoch.encode(), *args)
        if answer is None:
            raise StoreError(
                "has lost its data since this application began, or was given a new epoch",
                "a restart of the application, once it is known why",
            )
        return answer

    async def _call(self, function: str, first: bytes, *args: bytes) -> Any:
        wait = b"%dms" % (self._bound * 1000)
        given = [self.namespace.encode(), *((wait, first) if function == "open" else (first, wait)), *args]
        places = ", ".join(f"${n + 1}" for n in range(len(given)))
        answer = await self._run(f"SELECT gateway360.{function}({places})", given)
        return None if answer is None else json.loads(answer)

    async def _run(
        self, statement: str, args: Sequence[bytes] = (), *, bound: float | None = None
    ) -> bytes | None:
        """Run a statement, and give the first field of its answer. Raises `StoreError`."""
        bound = bound or self._bound
        error: StoreError
        # Not within the handlers: the frames of psycopg, which hold the password, are not to hang on it.
        try:
            async with asyncio.timeout(bound), self._connection(bound) as connection:
                result = await _exchange(connection.pgconn, statement.encode(), args)
            if result.status in {pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK}:
                return result.get_value(0, 0) if result.ntuples else None
            error = _refusal(result)
        except TimeoutError:
            error = StoreError(f"has not answered within {bound:g} s", "one that is up", passing=True)
        except psycopg.Error as exc:
            # No traceback, and a text of which the password is no part, whatever libpq quotes.
            error = self._no_connection(str(exc).strip().splitlines()[0] if str(exc).strip() else "", exc)
        raise error

    def _no_connection(self, text: str, exc: psycopg.Error) -> StoreError:
        text = self._dsn.redact(text)
        if self._pool is None:
            password = conninfo_to_dict(self._dsn.reveal()).get("password")
            text = Secret(str(password)).redact(text) if password else text
        name = type(exc).__name__
        if any(word in text for word in _REFUSES):
            return StoreError(f"refuses the connection ({text})", "a DSN with the right user and database")
        return StoreError(f"cannot be asked ({name}: {text})", "one that is up", passing=True)

    @asynccontextmanager
    async def _connection(self, bound: float) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """Give a connection for one step; one that the step was cut off on is closed."""
        if self._pool is not None:
            connection = await self._pool.getconn(bound)
            try:
                yield connection
            finally:
                if connection.pgconn.transaction_status != pq.TransactionStatus.IDLE:
                    await connection.close()
                await self._pool.putconn(connection)
            return
        places = self._places = self._places or asyncio.Semaphore(_CONNECTIONS)
        async with places:
            kept = None
            while self._idle and kept is None:
                kept = self._idle.pop()
                if not _is_alive(kept.pgconn):
                    await kept.close()
                    kept = None
            connection = kept or await psycopg.AsyncConnection.connect(self._dsn.reveal(), autocommit=True)
            try:
                yield connection
            finally:
                idle = connection.pgconn.transaction_status == pq.TransactionStatus.IDLE
                if idle and self._places is places:
                    self._idle.append(connection)
                else:
                    await connection.close()


def _is_alive(pgconn: pq.abc.PGconn) -> bool:
    """Whether the server has not closed an idle connection: a word of it is read first, then the end."""
    try:
        pgconn.consume_input()
        pgconn.consume_input()
    except psycopg.OperationalError:
        return False
    return True


async def _exchange(pgconn: pq.abc.PGconn, statement: bytes, args: Sequence[bytes]) -> pq.abc.PGresult:
    """Send a statement in one packet, and give the last of its results; several statements, without arguments."""
    loop = asyncio.get_running_loop()
    if args:
        pgconn.send_query_params(statement, args)
    else:
        pgconn.send_query(statement)
    while pgconn.flush():
        await _ready(loop, loop.add_writer, loop.remove_writer, pgconn.socket)
    result: pq.abc.PGresult | None = None
    while True:
        while pgconn.is_busy():
            await _ready(loop, loop.add_reader, loop.remove_reader, pgconn.socket)
            pgconn.consume_input()
        found = pgconn.get_result()
        if found is None:
            break
        result = found
    assert result is not None  # noqa: S101  # each statement has a result
    return result


async def _ready(
    loop: asyncio.AbstractEventLoop, add: Callable[..., None], remove: Callable[[int], object], socket: int
) -> None:
    future = loop.create_future()
    add(socket, lambda: future.done() or future.set_result(None))
    try:
        await future
    finally:
        remove(socket)


def _refusal(result: pq.abc.PGresult) -> StoreError:
    code = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
    text = (result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or b"the connection is lost").decode(
        errors="replace"
    )
    if not code:
        return StoreError(f"cannot be asked ({text})", "one that is up", passing=True)
    if code in _ABSENT:
        return StoreError(
            f"has not all of its tables ({text})", "the ones that `gateway360 store init URL` makes"
        )
    if code == "42501":
        return StoreError(f"refuses ({text})", _RIGHTS + "; to make them, CREATE on the database")
    passing = code in _PASSING or code[:2] in _PASSING
    return StoreError(f"refuses ({code}: {text})", "one that takes what it is told", passing=passing)


def _item(n: int, claim: Claim) -> dict[str, Any]:
    item: dict[str, Any] = {"n": n, "token": claim.token, "lease": claim.lease}
    if claim.record:
        item |= _record("", claim.record)
        item["key"] = f"r{claim.record.key.hex()}"
    if claim.cooldown:
        item |= _record("cooldown_", claim.cooldown)
        item["cooldown"] = f"r{claim.cooldown.key.hex()}"
    if claim.counts:
        item["counts"] = [(f"n{count.key.hex()}", count.most, count.window) for count in claim.counts]
    if claim.report_id is not None:
        item["report_id"] = json.dumps(claim.report_id)
    if claim.resend is not None:
        item["resend"] = claim.resend
    if claim.replace is not None:
        item["replace"] = claim.replace
    if claim.force:
        item["force"] = True
    return item


def _record(prefix: str, record: Record) -> dict[str, Any]:
    return {
        f"{prefix}ttl": record.ttl,
        f"{prefix}forgets": record.forgets,
        f"{prefix}fingerprint": record.fingerprint.hex(),
    }


def _end(n: int, completion: Completion) -> dict[str, Any]:
    item = _item(n, completion.claim)
    # As JSON within JSON: PostgreSQL's text has no character 0, and a database of another encoding not each of ours.
    item |= {"state": completion.state.value, "result": json.dumps(completion.result)}
    if completion.give_back:
        item["give_back"] = [f"n{count.key.hex()}" for count in completion.give_back]
    if completion.withdrawn:
        item["withdrawn"] = True
    return item


def _is_plain(completion: Completion) -> bool:
    claim = completion.claim
    if completion.state is State.FREE or completion.withdrawn or completion.give_back:
        return False
    return claim.record is not None and claim.cooldown is None


def _answer(found: list[Any]) -> Answer:
    if len(found) == 1:
        return Answer(state=State.FREE)
    state, token, result, report_id, remaining, mismatch, cooldown, *limit = found
    return Answer(
        state=State(state),
        token=token,
        result=_text(result),
        report_id=_text(report_id),
        remaining=float(remaining),
        mismatch=mismatch,
        cooldown=cooldown,
        limit=limit[0] if limit else None,
    )


def _text(found: str | None) -> str | None:
    return None if found is None else json.loads(found)


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _bytes(text: str) -> bytes:
    return text.encode()


def _bool(value: bool) -> bytes:  # noqa: FBT001
    return b"true" if value else b"false"
