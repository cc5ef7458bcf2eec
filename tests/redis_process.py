"""A real Redis for a test, on a socket in a folder of its own, that can be ended and begun again with its data."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

import pytest
from redis import Redis
from redis.exceptions import RedisError

_STARTS_WITHIN = 10.0
"""Seconds."""


_ABSENT = "no redis-server: install Debian's package `redis-server`"

needs_redis = pytest.mark.skipif(shutil.which("redis-server") is None, reason=_ABSENT)


class RedisProcess:
    """A server that keeps its data in a folder where that is asked for: what it has answered, it has written.

    Args:
        durable: Whether it keeps its data when it ends.
        options: More settings, by their names in `redis.conf`.
    """

    def __init__(self, *, durable: bool = False, **options: str) -> None:
        program = shutil.which("redis-server")
        if program is None:
            pytest.skip(_ABSENT)
        # Not in pytest's folder: the path of a socket has about a hundred characters.
        self._folder = Path(tempfile.mkdtemp(prefix="redis-"))
        self._path = str(self._folder / "redis.sock")
        settings = {"port": "0", "unixsocket": self._path, "dir": str(self._folder), "save": ""}
        settings |= {"appendonly": "yes" if durable else "no", "appendfsync": "always", "loglevel": "warning"}
        settings |= {name.replace("_", "-"): value for name, value in options.items()}
        self._command = [
            program,
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
        """Let it answer nobody until `resume`: what is sent to it waits."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it answer again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
