"""The keys of a store's records, and the tokens of claims."""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import struct
import sys
from contextlib import suppress
from functools import cache
from itertools import count
from operator import attrgetter
from pathlib import Path
from typing import Final

import attrs

from .._models import PinRequest
from .._operations import canonical

__all__ = ["KeyBuilder", "is_gone", "new_token"]

_VERSION: Final = b"1"
_DIGEST_BYTES: Final = 16
_ANY_NUMBER: Final = "34600000000"
_length = struct.Struct(">I").pack


class KeyBuilder:
    """Makes keys that say nothing about a number: only the store's secret can make them.

    A new API key forgets nothing, for no key depends on it. Each depends on the gateway's URL: a rehearsal on the sandbox
    completes nothing.

    Args:
        secret: The store's secret.
        namespace: The store's namespace.
        url: The URL that the client posts to.
    """

    def __init__(self, secret: bytes, namespace: str, url: str) -> None:
        self._secret = secret
        self._scope = (namespace.encode(), url.encode())
        self._started: dict[bytes, hashlib.blake2b] = {}
        self._payload_of: object = None
        self._payload = b""

    def __repr__(self) -> str:
        return "<KeyBuilder>"

    def record(self, idempotency_key: str) -> bytes:
        """Make the key of the record of a caller's idempotency key."""
        return self._key(b"record", idempotency_key.encode())

    def row(self, batch: str, msisdn: str, occurrence: int) -> bytes:
        """Make the key of the record of a batch's row: its number, and how often that came before."""
        return self._key(b"row", batch.encode(), msisdn.encode(), b"%d" % occurrence)

    def cooldown(self, msisdn: str) -> bytes:
        """Make the key of a number's record of the cooldown."""
        return self._key(b"cooldown", msisdn.encode())

    def count(self, kind: str, scope: str, window: float | None) -> bytes:
        """Make the key of a guard's count. Guards with another window count apart."""
        return self._key(b"count", kind.encode(), scope.encode(), repr(window).encode())

    def rate(self) -> bytes:
        """Make the key of the shared rate."""
        return self._key(b"rate")

    def batch(self, name: str) -> bytes:
        """Make the key of a batch's header."""
        return self._key(b"batch", name.encode())

    def settings(self) -> bytes:
        """Make the key of the header with the settings of the client that connected last."""
        return self._key(b"settings")

    def fingerprint(self, request: PinRequest) -> bytes:
        """Make the fingerprint of a request as it goes on the wire, without the API key."""
        # Requests in a row mostly differ in their number alone: the rest is hashed once, and kept for the next.
        fields = _payload_of(request)
        if fields != self._payload_of:
            self._payload = self._key(b"payload", canonical(attrs.evolve(request, msisdn=_ANY_NUMBER)))
            self._payload_of = fields
        return self._key(b"request", self._payload, request.msisdn.encode())

    def account(self, api_key: str) -> str:
        """Make the fingerprint of an API key, in hexadecimal digits."""
        return self._key(b"account", api_key.encode()).hex()

    def _key(self, kind: bytes, *parts: bytes) -> bytes:
        started = self._started.get(kind)
        if started is None:
            started = self._started[kind] = hashlib.blake2b(
                _VERSION, digest_size=_DIGEST_BYTES, key=self._secret, person=kind
            )
            for part in self._scope:
                started.update(_length(len(part)) + part)
        digest = started.copy()
        # Each with its length before it, so that no two lists of parts are the same bytes.
        for part in parts:
            digest.update(_length(len(part)) + part)
        return digest.digest()


# All fields that go on the wire, but for the number.
_payload_of = attrgetter(
    *sorted({field.name for field in attrs.fields(PinRequest)} - {"msisdn", "line_types"})
)


def new_token() -> str:
    """Make a claim's token. It ends with its process, so that one that is gone is noticed."""
    drawn, process = _process(os.getpid())
    return f"{drawn}{next(_counted):x}.{process}"


def is_gone(token: str) -> bool:
    """Say whether the process that made a token certainly runs no more. Of another machine's, nothing is known."""
    host, _, process = token.partition(".")[2].partition("-")
    pid, _, began = process.partition("-")
    if host != _host() or not pid.isdecimal() or sys.platform == "win32":
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return _began(int(pid)) not in (began, "")


_counted: Final = count()


@cache
def _process(pid: int) -> tuple[str, str]:
    """Draw the random part of a process's tokens, and make its name; after a fork, both anew."""
    return secrets.token_urlsafe(12), f"{_host()}-{pid}-{_began(pid)}"


@cache
def _host() -> str:
    """Name the machine since its start, and the space of process ids in it: two containers have two."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text("ascii"))
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=6).hexdigest()


def _began(pid: int) -> str:
    """Return when a process began, in the kernel's ticks; nothing where the system does not say."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[19]
    return ""
