"""Another process that uses a store in a file, as the tests order it line by line; and how the tests do."""

from __future__ import annotations

import asyncio
import atexit
import fcntl
import functools
import json
import os
import signal
import sqlite3
import struct
import subprocess
import sys
import threading
from contextlib import closing, contextmanager
from pathlib import Path
from subprocess import PIPE

from gateway360_async.stores import Claim, Completion, Record, SqliteStore, State, StoreError


def claim_of(name: str, **settings) -> Claim:
    key = name.encode().ljust(16, b".")
    return Claim(
        **{"token": f"token-{name}", "lease": 600.0, "record": Record(key=key, ttl=900.0)} | settings
    )


async def main(path: str) -> None:
    store = SqliteStore(path, timeout=10.0)
    for line in sys.stdin:
        order, *names = line.split()
        try:
            if order == "connect":
                answer = (await store.connect()).epoch
            elif order == "claim":
                answer = [
                    str(answer.state) for answer in await store.claim([claim_of(name) for name in names])
                ]
            elif order == "stop":  # within a transaction, with the lock
                await asyncio.get_running_loop().run_in_executor(None, stop_within, store)
                answer = "went on"
            else:
                await store.aclose()
                answer = "closed"
        except StoreError as exc:
            answer = {"error": str(exc)}
        print(json.dumps(answer), flush=True)


def stop_within(store: SqliteStore) -> None:
    # This thread stops before it goes on; of the process, another thread might have stopped first.
    store._worker._file.transact((), lambda _: signal.pthread_kill(threading.get_ident(), signal.SIGSTOP))


@functools.cache
def nursery():
    """What has imported the store, for all the processes that the tests of this process order."""
    from support.forked import Nursery  # the tests' path is not this program's

    made = Nursery("gateway360_async.stores._sqlite")
    atexit.register(made.close)
    return made


class Process:
    """Another process with a store, which runs this module.

    Args:
        child: Whether it is a child of the tests, which can wait until it has stopped; or else it is forked.
    """

    def __init__(self, path, *, child=False):
        command = [__file__, str(path)]
        if child:
            self.program = subprocess.Popen([sys.executable, *command], stdin=PIPE, stdout=PIPE, text=True)
        else:
            self.program = nursery().start(command, stdin=PIPE, stdout=PIPE)

    def order(self, line):
        self.program.stdin.write(f"{line}\n")
        self.program.stdin.flush()

    def answer(self):
        return json.loads(self.program.stdout.readline())

    def ask(self, line):
        self.order(line)
        return self.answer()

    def kill(self):
        with self.program:
            self.program.kill()


@contextmanager
def process(path, **settings):
    other = Process(path, **settings)
    try:
        assert isinstance(other.ask("connect"), str)
        yield other
    finally:
        other.kill()


@contextmanager
def locked(path):
    """The lock, as another process would hold it."""
    side = os.open(f"{path}-lock", os.O_RDWR)
    try:
        fcntl.flock(side, fcntl.LOCK_EX)
        yield
    finally:
        os.close(side)


def killed_after(path, *names):
    """Leave the files as a process does that is killed after these claims."""
    with process(path) as other:
        assert other.ask(f"claim {' '.join(names)}") == ["claimed"] * len(names)


async def states(store, *names):
    return [str(answer.state) for answer in await store.claim([claim_of(name, token="x") for name in names])]


async def claimed(store, *names):
    return [str(answer.state) for answer in await store.claim([claim_of(name) for name in names])]


def number_of_commits(path):
    return struct.unpack("<8sQQQ", Path(f"{path}-lock").read_bytes())[1]


def mark(path):
    with Path(f"{path}-lock").open("r+b") as side:
        side.seek(24)
        side.write(struct.pack("<Q", 1))


def rows(path, query):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def done(claim, state=State.COMPLETED, result="r", **settings):
    return Completion(claim=claim, state=state, result=result, **settings)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
