"""Run every contender against every fault, and keep what the servers saw.

Rules of this module:

- The servers live here, the contenders in their processes; several contenders at a time, for nearly all
  of a call is waiting.
- Each cell is of several calls. They are expected to be alike, and where they are not the table says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import trustme

from ..machine import ROOT
from .contenders import CONTENDERS
from .faults import FAULTS, HOST, Faulty
from .settings import PAUSE, TIMEOUT, TRIES

__all__ = ["run"]

CALLS: Final = 3
"""Calls a cell."""

_AT_A_TIME: Final = 4
_LISTENS_AFTER: Final = 0.05
"""Seconds for which a port refuses, from the begin of a call: shorter than any pause that is set."""
_LIMIT: Final = 180.0
"""Seconds after which a contender's process is ended: several times what the slowest takes."""


def run(say: Callable[[str], None]) -> dict[str, Any]:
    """Make the table. `say` is told of each contender that is done."""
    return asyncio.run(_run(say))


async def _run(say: Callable[[str], None]) -> dict[str, Any]:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(HOST).configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
    turns = asyncio.Semaphore(_AT_A_TIME)
    with tempfile.TemporaryDirectory() as directory:
        bundle = Path(directory) / "authority.pem"
        bundle.write_bytes(authority.cert_pem.bytes())

        async def row(name: str) -> dict[str, Any]:
            async with turns:
                found = await _contend(name, context if CONTENDERS[name].tls else None, bundle)
                say(f"duplicates: {name}: {found.get('not_available') or found.get('failed') or 'done'}")
                return {"contender": name, "versions": _versions(CONTENDERS[name].packages), **found}

        rows = await asyncio.gather(*(row(name) for name in CONTENDERS))
    return {"calls": CALLS, "timeout": TIMEOUT, "tries": TRIES, "pause": PAUSE, "rows": rows}


def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for package in packages:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


async def _contend(name: str, tls: ssl.SSLContext | None, bundle: Path) -> dict[str, Any]:
    warm_up = Faulty(FAULTS[-1], tls)
    servers = [Faulty(fault, tls) for fault in FAULTS for _ in range(CALLS)]
    try:
        for server in (warm_up, *servers):
            if not server.fault.refused:
                await server.listen()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "benchmarks.duplicates.worker",
            cwd=ROOT,
            # requests reads the one, and httpx and the ssl module the other.
            env={**os.environ, "REQUESTS_CA_BUNDLE": str(bundle), "SSL_CERT_FILE": str(bundle)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        job = {"contender": name, "warm_up": warm_up.url, "urls": [server.url for server in servers]}
        try:
            async with asyncio.timeout(_LIMIT):
                return await _follow(process, job, servers)
        except TimeoutError:
            process.kill()
            return {"failed": f"no result after {_LIMIT:g} s"}
        finally:
            await process.wait()
    finally:
        for server in (warm_up, *servers):
            await server.aclose()


async def _follow(
    process: asyncio.subprocess.Process, job: dict[str, Any], servers: list[Faulty]
) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(job).encode())
    process.stdin.close()
    told: list[str] = []
    async for line in process.stdout:
        step: dict[str, Any] = json.loads(line)
        if "not_available" in step:
            return step
        if "told" in step:
            told.append(step["told"])
            continue
        server = servers[int(step["begin"])]
        if server.fault.refused:
            await asyncio.sleep(_LISTENS_AFTER)
            await server.listen()
    if len(told) < len(servers):
        return {"failed": f"ended after {len(told)} of {len(servers)} calls"}
    cells: dict[str, dict[str, list[Any]]] = {}
    for server, word in zip(servers, told, strict=True):
        cell = cells.setdefault(server.fault.name, {"posts": [], "told": []})
        cell["posts"].append(server.posts)
        cell["told"].append(word)
    return {"cells": cells}
