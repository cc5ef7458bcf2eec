"""Programs in Python that begin with what another process has imported: it forks them, and they are processes as any.

A start of Python with a framework takes a second of a processor, and the tests start such programs again and again:
workers, sites, other users of a store. A `Nursery` imports once what they have in common, and forks each of them. Between
it and a program is a process that waits for the program, and tells the test its number and its end.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

_NUMBER = struct.Struct("=i")


class Forked:
    """A program that a nursery has forked, with the methods of `subprocess.Popen` that the tests use."""

    def __init__(self, told, stdin, stdout):
        self._told, self.stdin, self.stdout = told, stdin, stdout
        self.returncode = None
        (self.pid,) = _NUMBER.unpack(told.read(_NUMBER.size))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for stream in (self.stdin, self.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        self.wait()

    def poll(self):
        if self.returncode is None and select.select([self._told], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self):
        if self.returncode is None:
            (status,) = _NUMBER.unpack(self._told.read(_NUMBER.size))
            self.returncode = os.waitstatus_to_exitcode(status)
            self._told.close()
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def terminate(self):
        self.send_signal(signal.SIGTERM)


class Nursery:
    """A process that has imported some modules, and forks programs.

    Args:
        modules: Their names. None of them may start a thread, or keep open what a program must have for itself.
        cwd: The folder where they are looked for as well; `None`: the tests' own.
        env: The environment in which they are imported; `None`: the tests' own.
    """

    def __init__(self, *modules, cwd=None, env=None):
        self._control, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, __file__, str(theirs.fileno()), *modules]
            self._process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, cwd=cwd, env=env
            )
        self._started = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """End it, and the programs that tests have left behind: it waits for all of them."""
        for program in self._started:
            program.kill()
        self._control.close()
        self._process.wait()

    def start(self, command, *, cwd=None, env=None, stdin=None, stdout=None, stderr=None):
        """Start what `python` would with these words, in a session of its own.

        Args:
            command: `-m`, a module and its arguments; `-c`, code and arguments; or a script and its arguments.
            cwd: Its folder; `None`: the tests' own. `env` likewise.
            stdin: `PIPE`, for text; `None`: there is none.
            stdout: A file, or `PIPE`; `None`: the tests' own. `stderr` likewise, without `PIPE`.
        """
        order = {"command": [str(word) for word in command], "cwd": str(cwd or Path.cwd())}
        order["env"] = dict(os.environ if env is None else env)
        with contextlib.ExitStack() as theirs:

            def pipe(mode):
                read, write = os.pipe()
                ours, other = (write, read) if mode == "w" else (read, write)
                theirs.callback(os.close, other)
                return os.fdopen(ours, mode, 0 if mode == "rb" else -1), other

            told, telling = pipe("rb")
            if stdin is PIPE:
                stdin, read = pipe("w")
            else:
                read = theirs.enter_context(Path(os.devnull).open()).fileno()
            if stdout is PIPE:
                stdout, write = pipe("r")
            else:
                stdout, write = None, 1 if stdout is None else stdout.fileno()
            streams = [read, write, 2 if stderr is None else stderr.fileno(), telling]
            socket.send_fds(self._control, [json.dumps(order).encode() + b"\n"], streams)
        program = Forked(told, stdin, stdout)
        self._started.append(program)
        return program


def _received(control):
    """Wait for an order, and give it with its files. `None`: the tests have ended."""
    body, files = b"", []
    while not body.endswith(b"\n"):
        more, some, _, _ = socket.recv_fds(control, 65536, 4)
        if not more:
            return None
        body += more
        files += some
    return json.loads(body), files


def _serve(control):
    """Fork a program for each order. Only a program's own process comes back, with its order."""
    while (received := _received(control)) is not None:
        order, (*streams, telling) = received
        if not os.fork():
            control.close()
            program = os.fork()
            if not program:
                os.setsid()  # before its number is known: a test may end its group at once
                os.write(telling, _NUMBER.pack(os.getpid()))
                os.close(telling)
                for number, stream in enumerate(streams):
                    os.dup2(stream, number)
                    os.close(stream)
                return order
            for stream in streams:
                os.close(stream)
            os.write(telling, _NUMBER.pack(os.waitpid(program, 0)[1]))
            os._exit(0)
        for file in (*streams, telling):
            os.close(file)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    return None


def _become(order):
    """Be the program, as far as it can tell."""
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    first, *words = order["command"]
    if first == "-m":
        sys.argv, sys.path[0] = words, order["cwd"]
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.argv, sys.path[0] = ["-c", *words[1:]], ""
        exec(compile(words[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv, sys.path[0] = [first, *words], str(Path(first).parent)
        runpy.run_path(first, run_name="__main__")


def main():
    sys.path[0] = str(Path.cwd())  # as for `-m`, and not this module's folder
    for name in sys.argv[2:]:
        importlib.import_module(name)
    with socket.socket(fileno=int(sys.argv[1])) as control:
        order = _serve(control)
    if order is not None:
        _become(order)


if __name__ == "__main__":
    main()
