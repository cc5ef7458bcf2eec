"""Idempotency records in PostgreSQL, for machines that share one.

Invariants:

- A step is one statement without a name, and so one transaction in one packet, which PgBouncer can give to any
  connection. `psycopg.pq` sends it for half the CPU of psycopg's own `execute`.
- No error shows the DSN, which may hold a password.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from inspect import iscoroutinefunction
from typing import Any, Final, Protocol, cast

from psycopg import AsyncConnection, Error, OperationalError, pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from .._exceptions import InvalidConfiguration, StoreError, wrong_setting
from .._redaction import Secret
from .._retry import CATCH_UP, HORIZON
from ._base import Answer, Claim, Completion, Identity, Record, State, Store, lost
from ._postgres_schema import SCHEMA, VERSION

__all__ = ["SCHEMA", "PostgresStore"]

_CONNECTIONS: Final = 4
"""Connections of one store at most: one each for claims, completions, looks and the rest."""
_LEAST_BOUND: Final = 2.0
"""Seconds in which PostgreSQL connects and answers, at least."""
_SETS_UP_WITHIN: Final = 60.0
"""Seconds."""
_PASSING: Final = frozenset(
    ("08", "53", "58", "40001", "40P01", "25006", "55P03", "57014", "57P01", "57P02", "57P03", "57P05")
)
"""Errors, or their classes, that end when there is room, a primary or less to do."""
_REFUSALS: Final = re.compile(
    "FATAL: .*(authentication|does not exist|pg_hba|permi)|no password supplied|certificate|does not support SSL"
)
"""Words of libpq, which hides the error's code, for a connection that is refused for good."""
_TABLES: Final = "the ones that `gateway360 store init URL` makes"
_RIGHTS: Final = (
    "a user with USAGE on the schema gateway360 and SELECT, INSERT, UPDATE and DELETE on its tables; "
    "to make them, one with CREATE on the database"
)
_EXPECTED: Final = "a DSN (postgresql://… or host=… dbname=…) or an open psycopg_pool.AsyncConnectionPool"
_PLAIN: Final = frozenset(
    ("n", "key", "ttl", "forgets", "fingerprint", "token", "lease", "report_id", "state", "result")
)
"""The fields of an item about one record alone, which it does not release."""
_CHECK: Final = """
SELECT json_build_array(current_setting('fsync'), current_setting('full_page_writes'),
    (SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = 'async'),
    (SELECT count(*) FROM pg_class WHERE relpersistence = 'u'
        AND oid IN ('gateway360.records'::regclass, 'gateway360.entries'::regclass)))"""


class Pool(Protocol):
    """The used part of a `psycopg_pool.AsyncConnectionPool`."""

    async def getconn(self, timeout: float | None = None) -> AsyncConnection[Any]: ...
    async def putconn(self, conn: AsyncConnection[Any]) -> None: ...


def _checked_dsn(dsn: object) -> Secret | InvalidConfiguration:
    """Return a DSN in a `Secret`, or the error to raise once the DSN, which may hold a password, is dropped."""
    if not isinstance(dsn, str):
        return wrong_setting("dsn", dsn, _EXPECTED)
    try:
        return Secret(make_conninfo(dsn, fallback_application_name="gateway360"))
    except (Error, UnicodeError):
        return InvalidConfiguration("dsn", "is no DSN of PostgreSQL", _EXPECTED)


class PostgresStore(Store):
    """A store in PostgreSQL, for any number of machines. `gateway360 store init URL` makes its tables.

    It works behind PgBouncer in each of its modes. Its answers survive a crash of the server, even with
    `synchronous_commit` off. A store has up to four connections, or shares the pool that is handed in.

    Args:
        dsn: Its DSN; missing parts come from the environment (`PGHOST`, `PGPASSWORD`). Or an open
            `psycopg_pool.AsyncConnectionPool`, which the caller closes.
        namespace: As for every `Store`.
        ttl: As for every `Store`.
        timeout: As for every `Store`.

    Raises:
        InvalidConfiguration: A setting is wrong; `.setting` names it.
    """

    def __init__(
        self, dsn: str | Pool, *, namespace: str = "gateway360", ttl: float = 604_800.0, timeout: float = 2.0
    ) -> None:
        super().__init__(namespace=namespace, ttl=ttl, timeout=timeout)
        self._pool: Pool | None = None
        if iscoroutinefunction(getattr(dsn, "getconn", None)):
            self._pool = cast("Pool", dsn)
            dsn = ""
        checked = _checked_dsn(dsn)
        del dsn
        if isinstance(checked, InvalidConfiguration):
            raise checked
        self._dsn = checked
        self._bound = max(_LEAST_BOUND, self.timeout)
        self._idle: list[AsyncConnection[Any]] = []
        self._places: asyncio.Semaphore | None = None

    async def init(self) -> None:
        """Make the tables and functions (`SCHEMA`) where there are none. It wants no `connect`. Raises `StoreError`."""
        self._require_affinity()
        try:
            if not await self._is_set_up():
                await self._run(SCHEMA, bound=_SETS_UP_WITHIN)
        finally:
            if not self._users:
                await self._close()

    async def _is_set_up(self) -> bool:
        if not await self._run("SELECT to_regprocedure('gateway360.version()')::text"):
            return False
        version = int(await self._run("SELECT gateway360.version()") or 0)
        if version > VERSION:
            raise StoreError(
                f"has tables of version {version}", "a gateway360-async that is as new as they are"
            )
        return version == VERSION

    async def _open(self, known: Identity | None) -> Identity:
        level = (await self._run("SELECT current_setting('transaction_isolation')") or b"").decode()
        if level != "read committed":
            cure = "ALTER ROLE … SET default_transaction_isolation = 'read committed'"
            raise StoreError(f"has the isolation level {level!r}", cure)
        if not await self._is_set_up():
            raise StoreError("has no tables in this database", _TABLES)
        if known is not None:
            await self._ask("start", known=known)
            return known
        new = Identity(os.urandom(8).hex(), secrets.token_bytes(32))
        epoch, secret = await self._ask("open", new.secret.hex(), known=new)
        return Identity(epoch, bytes.fromhex(secret))

    async def _close(self) -> None:
        self._places = None
        while self._idle:
            await self._idle.pop().close()

    async def claim(self, claims: Sequence[Claim]) -> list[Answer]:
        found = await self._ask_all("claim", [_claimed(claim) for claim in claims])
        return [
            Answer(state=State.CLAIMED, token=claim.token, report_id=claim.report_id, result=_text(answer and answer[2]))
            if answer is None or answer[0] == "claimed" else _answer(answer)
            for claim, answer in zip(claims, found, strict=True)
        ]  # fmt: skip

    async def complete(self, completions: Sequence[Completion]) -> list[bool]:
        return await self._ask_all("complete", [_ended(completion) for completion in completions])

    async def renew(self, claims: Sequence[Claim]) -> list[bool]:
        return await self._ask_all("renew", [_claimed(claim) for claim in claims])

    async def peek(self, records: Sequence[Record]) -> list[Answer]:
        return [_answer(found) for found in await self._ask_all("peek", [_item(one) for one in records])]

    async def permits(self, key: bytes, count: int, interval: float) -> tuple[int, float]:
        granted, seconds = await self._ask("permits", f"p{key.hex()}", count, interval, HORIZON, CATCH_UP)
        return granted, float(seconds)

    async def header(self, key: bytes, value: str, *, replace: bool = False) -> str:
        found = await self._ask("header", f"h{key.hex()}", json.dumps(value), replace)
        return cast("str", json.loads(found))

    async def now(self) -> float:
        return cast("float", await self._ask("start"))

    async def new_epoch(self) -> str:
        return cast("str", await self._ask("new_epoch", os.urandom(8).hex()))

    async def check(self) -> list[str]:
        await self._ask("start")
        fsync, pages, standbys, unlogged = json.loads(await self._run(_CHECK) or b"")
        troubles = {
            "fsync is off: a crash of the machine loses records, and may damage the tables": fsync == "off",
            "full_page_writes is off: a crash of the machine may damage the tables": pages == "off",
            f"{standbys} of its standbys are asynchronous: a failover may forget the latest records": standbys,
            "its tables are unlogged: a crash empties them (ALTER TABLE … SET LOGGED)": unlogged,
        }
        return [trouble for trouble, is_there in troubles.items() if is_there]

    async def _ask_all(self, function: str, items: list[dict[str, Any]]) -> list[Any]:
        """Run a step on a list, and return the answer to each item. Raises `StoreError`."""
        if not items:
            await self._ask("start")
            return []
        keys = {item[name] for item in items for name in ("key", "cooldown") if name in item}
        for n, item in enumerate(items):
            item["n"] = n
            keys.update(count[0] for count in item.get("counts", ()))
            keys.update(item.get("give_back", ()))
        if function in {"claim", "complete"}:
            # Whether each is about one record, another one, and nothing else.
            plain = len(keys) == len(items) and all(item.keys() <= _PLAIN for item in items)
            return cast("list[Any]", await self._ask(function, plain, tuple(keys), items))
        return cast("list[Any]", await self._ask(function, tuple(keys), items))

    async def _ask(self, function: str, *args: object, known: Identity | None = None) -> Any:
        """Run a step. Raises `StoreError`."""
        identity = known or self._known()
        given = [_sent(one) for one in (self.namespace, identity.epoch, f"{self._bound * 1000:.0f}ms", *args)]
        places = ", ".join(f"${n + 1}" for n in range(len(given)))
        answer = await self._run(f"SELECT gateway360.{function}({places})", given)
        if answer is None:
            raise lost()
        return json.loads(answer)

    async def _run(self, statement: str, args: Sequence[bytes] = (), *, bound: float = 0.0) -> bytes | None:
        """Run a statement, and return the first field of its answer. Raises `StoreError`."""
        bound = bound or self._bound
        try:
            async with asyncio.timeout(bound), self._connection(bound) as connection:
                result = await _exchange(connection.pgconn, statement.encode(), args)
            error = _refusal(result)
            if error is None:
                return result.get_value(0, 0) if result.ntuples else None
        except TimeoutError:
            error = StoreError(f"has not answered within {bound:g} s", "one that is up", passing=True)
        except Error as exc:
            error = self._no_connection(exc)
        # Not within the handlers: the frames of psycopg, which hold the password, are not to hang on it.
        raise error

    def _no_connection(self, error: Error) -> StoreError:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        password = str(conninfo_to_dict(self._dsn.reveal()).get("password") or "")
        text = Secret(password).redact(lines[0]) if password else lines[0]
        if _REFUSALS.search(text):
            return StoreError(
                f"refuses ({text})", "a DSN with the right user, password, database and certificates"
            )
        return StoreError(f"cannot be asked ({text})", "one that is up", passing=True)

    @asynccontextmanager
    async def _connection(self, bound: float) -> AsyncGenerator[AsyncConnection[Any], None]:
        """Lend a connection for one step. One that a step was cut off on is closed."""
        if self._pool is not None:
            connection = await self._pool.getconn(bound)
            try:
                yield connection
            finally:
                await self._pool.putconn(connection)  # which closes one that a step was cut off on
            return
        places = self._places = self._places or asyncio.Semaphore(_CONNECTIONS)
        async with places:
            connection = await self._kept() or await AsyncConnection.connect(
                self._dsn.reveal(), autocommit=True
            )
            try:
                yield connection
            finally:
                is_idle = connection.pgconn.transaction_status == pq.TransactionStatus.IDLE
                if is_idle and self._places is places:
                    self._idle.append(connection)
                else:
                    await connection.close()

    async def _kept(self) -> AsyncConnection[Any] | None:
        """Return an idle connection that the server has not closed meanwhile, if there is one."""
        while self._idle:
            connection = self._idle.pop()
            try:
                connection.pgconn.consume_input()  # its last words
                connection.pgconn.consume_input()  # its end
            except OperationalError:
                await connection.close()
            else:
                return connection
        return None


async def _exchange(pgconn: pq.abc.PGconn, statement: bytes, args: Sequence[bytes]) -> pq.abc.PGresult:
    """Send a statement with its arguments, or several without any, and return the last result."""
    loop = asyncio.get_running_loop()
    if args:
        pgconn.send_query_params(statement, args)
    else:
        pgconn.send_query(statement)
    while pgconn.flush():
        await _ready(loop.add_writer, loop.remove_writer, pgconn.socket)
    last: pq.abc.PGresult | None = None
    while True:
        while pgconn.is_busy():
            await _ready(loop.add_reader, loop.remove_reader, pgconn.socket)
            pgconn.consume_input()
        result = pgconn.get_result()
        if result is None:
            return cast("pq.abc.PGresult", last)
        last = result


async def _ready(add: Callable[..., None], remove: Callable[[int], object], socket: int) -> None:
    ready = asyncio.Event()
    add(socket, ready.set)
    try:
        await ready.wait()
    finally:
        remove(socket)


def _refusal(result: pq.abc.PGresult) -> StoreError | None:
    if result.status in {pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK}:
        return None
    code = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
    text = (result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or b"the connection is lost").decode(
        errors="replace"
    )
    if code in {"3F000", "42P01", "42883"}:
        return StoreError(f"has not all of its tables ({text})", _TABLES)
    if code == "42501":
        return StoreError(f"refuses ({text})", _RIGHTS)
    passing = not code or code in _PASSING or code[:2] in _PASSING
    return StoreError(f"refuses ({code}: {text})", "one that takes what it is told", passing=passing)


def _sent(value: object) -> bytes:
    """Encode an argument: a tuple of keys as an array, a text as it is, anything else as JSON."""
    if isinstance(value, tuple):
        return f"{{{','.join(cast('tuple[str, ...]', value))}}}".encode()
    return (value if isinstance(value, str) else json.dumps(value)).encode()


def _item(record: Record | None, prefix: str = "") -> dict[str, Any]:
    if record is None:
        return {}
    return {
        prefix.rstrip("_") or "key": f"r{record.key.hex()}",
        f"{prefix}ttl": record.ttl,
        f"{prefix}forgets": record.forgets,
        f"{prefix}fingerprint": record.fingerprint.hex(),
    }


def _claimed(claim: Claim) -> dict[str, Any]:
    # Texts of the caller's are JSON within JSON: what PostgreSQL's text cannot hold is escaped in it.
    item = _item(claim.record) | {"token": claim.token, "lease": claim.lease}
    if claim.cooldown:
        item |= _item(claim.cooldown, "cooldown_")
    if claim.counts:
        item["counts"] = [(f"n{count.key.hex()}", count.most, count.window) for count in claim.counts]
    if claim.report_id is not None:
        item["report_id"] = json.dumps(claim.report_id)
    for name in ("resend", "replace", "force"):
        if value := getattr(claim, name):
            item[name] = value
    return item


def _ended(completion: Completion) -> dict[str, Any]:
    item = _claimed(completion.claim)
    if completion.state is State.FREE:
        item["released"] = True
    else:
        item |= {"state": completion.state, "result": json.dumps(completion.result)}
    if completion.give_back:
        item["give_back"] = [f"n{count.key.hex()}" for count in completion.give_back]
    if completion.withdrawn:
        item["withdrawn"] = True
    return item


def _answer(found: list[Any]) -> Answer:
    if len(found) == 1:
        return Answer(state=State.FREE)
    state, token, result, report_id, remaining, mismatch, cooldown, *limit = found
    return Answer(
        state=State(state), token=token, result=_text(result), report_id=_text(report_id), remaining=float(remaining),
        mismatch=mismatch, cooldown=cooldown, limit=limit[0] if limit else None,
    )  # fmt: skip


def _text(found: str | None) -> str | None:
    return None if found is None else json.loads(found)
