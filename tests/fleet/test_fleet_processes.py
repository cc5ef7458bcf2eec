"""Redis and the workers as processes: started, killed, replaced, and none left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from loopback import free_port

from gateway360_async.cli import _fleet_processes
from gateway360_async.cli._fleet_processes import RedisServer, Worker, Workers
from gateway360_async.cli._problems import UsageProblem

STUBBORN = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(60)
"""
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
child.wait()
"""


async def ask(redis: RedisServer, command: str) -> str:
    """Give the first line of Redis' answer, over whatever it listens on."""
    if redis.url.startswith("unix://"):
        reader, writer = await asyncio.open_unix_connection(redis.url.removeprefix("unix://"))
    else:
        host, _, port = redis.url.removeprefix("redis://").removesuffix("/0").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(f"{command}\r\n".encode())
        return (await reader.readline()).decode().strip()
    finally:
        writer.close()
        await writer.wait_closed()


def alive(pid: int) -> bool:
    """Whether a process is there and does anything: what has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def gone(pid: int) -> None:
    while alive(pid):
        await asyncio.sleep(0.01)


async def said(log: Path) -> str:
    while not log.exists() or not log.read_text().endswith("\n"):
        await asyncio.sleep(0.01)
    return log.read_text().strip()


def python(code: str, folder: Path) -> Worker:
    """A worker that is another program."""
    worker = Worker("no:broker", folder / "worker.log", {})
    worker._command = [sys.executable, "-c", code]
    return worker


# --- Redis -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("make_redis")
@pytest.mark.parametrize("port", [None, True])
async def test_redis_keeps_what_it_was_told_over_a_restart(short_folder, port):
    async with RedisServer(short_folder, port=port and free_port()) as redis:
        first = redis.pid
        assert await ask(redis, "SET key value") == "+OK"
        await redis.restart()
        assert redis.pid != first
        assert await ask(redis, "STRLEN key") == ":5"
        assert await ask(redis, "CONFIG SET maxmemory-policy noeviction") == "+OK"
    assert not redis.running
    await gone(redis.pid)


@pytest.mark.usefixtures("make_redis")
async def test_redis_keeps_what_it_was_told_when_it_is_killed(short_folder):
    async with RedisServer(short_folder) as redis:
        await ask(redis, "SET key value")
        await redis.kill()
        await redis.start()
        assert await ask(redis, "STRLEN key") == ":5"


@pytest.mark.usefixtures("make_redis")
async def test_a_redis_that_does_not_start_says_why(short_folder):
    server = RedisServer(short_folder, fsync="sometimes")
    with pytest.raises(UsageProblem, match="redis-server did not start: .*"):
        await server.start()


@pytest.mark.usefixtures("make_redis")
async def test_a_redis_that_never_serves_is_given_up(short_folder, monkeypatch):
    monkeypatch.setattr(_fleet_processes, "_STARTS_WITHIN", 0.05)
    server = RedisServer(short_folder)

    async def never() -> bool:
        return False

    monkeypatch.setattr(server, "_serves", never)
    with pytest.raises(UsageProblem, match="did not start"):
        await server.start()
    assert not alive(server.pid)


@pytest.mark.usefixtures("make_redis")
async def test_what_hangs_up_does_not_serve(short_folder):
    server = RedisServer(short_folder)

    async def hang_up(_reader, writer) -> None:
        writer.transport.abort()

    async with await asyncio.start_unix_server(hang_up, short_folder / "redis.sock"):
        assert not await server._serves()


def test_no_redis_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageProblem, match="no redis-server on the path: install Redis"):
        RedisServer(tmp_path)


# --- Workers ---------------------------------------------------------------------------------------------


def test_a_worker_is_the_engines_own(tmp_path):
    worker = Worker("tasks:broker", tmp_path / "log", {"A": "b"}, ["--max-async-tasks", "7"])
    assert worker._command[1:] == [
        "-m", "taskiq", "worker", "tasks:broker", "--workers", "1", "--max-async-tasks", "7",
    ]  # fmt: skip
    assert worker._environment == os.environ | {"A": "b"}
    assert worker.pid is None


async def test_a_worker_is_killed_with_all_that_it_has_started(tmp_path):
    worker = python(PARENT, tmp_path)
    await worker.start()
    child = int(await said(tmp_path / "worker.log"))
    assert alive(child)
    await worker.kill()
    await gone(child)
    assert not worker.running


async def test_what_has_ended_is_not_signalled(tmp_path):
    worker = python("print('done')", tmp_path)
    worker.signal(signal.SIGKILL)  # nothing was started
    await worker.kill()
    await worker.stop()
    await worker.start()
    await worker._process.wait()
    worker.signal(signal.SIGKILL)
    await worker.stop()
    assert worker.last_line() == "done"


async def test_a_worker_that_does_not_stop_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(_fleet_processes, "_STOPS_WITHIN", 0.01)
    worker = python(STUBBORN, tmp_path)
    await worker.start()
    await said(tmp_path / "worker.log")
    await worker.stop()
    assert worker._process.returncode == -signal.SIGKILL


async def test_one_that_said_nothing_says_so(tmp_path):
    worker = python("", tmp_path)
    await worker.start()
    await worker._process.wait()
    assert worker.last_line() == "it said nothing"


@pytest.fixture
def workers(tmp_path):
    """Two of them, which are another program."""
    found = Workers(2, "no:broker", tmp_path, {})
    for worker in found.all:
        worker._command = [sys.executable, "-c", "import time; time.sleep(60)"]
    return found


async def test_a_worker_is_replaced(workers):
    async with workers:
        first, second = (worker.pid for worker in workers.all)
        workers.kill(0)
        await gone(first)
        await workers.replace(0)
        assert workers.killed == 1
        assert alive(workers.all[0].pid) and workers.all[0].pid != first
        assert workers.all[1].pid == second
    for worker in workers.all:
        assert worker._process.returncode == -signal.SIGTERM


async def test_no_worker_outlives_an_error(workers):
    with pytest.raises(RuntimeError, match="of the test"):
        async with workers:
            raise RuntimeError("of the test")
    assert [worker._process.returncode for worker in workers.all] == [-signal.SIGKILL] * 2


async def test_no_worker_outlives_one_that_does_not_start(workers):
    workers.all[1]._command = ["/nowhere"]
    with pytest.raises(FileNotFoundError):
        async with workers:
            pass
    assert workers.all[0]._process.returncode == -signal.SIGKILL
