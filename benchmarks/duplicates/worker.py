"""One contender's calls, in a process of its own: a job on stdin, a line of JSON on stdout for each step.

Rules of this module:

- Before the calls there is one to a server without a fault, whose POST nobody counts: what a contender
  imports or prepares with its first request is no part of a fault.
- `begin` is said when the client is made and nothing has been sent, `told` when the call has ended.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import warnings
from typing import Any

from .contenders import CONTENDERS, Contender


def _say(**step: Any) -> None:
    print(json.dumps(step), flush=True)


async def _call(contender: Contender, url: str, case: int | None) -> None:
    async with contender.make(url) as call:
        if case is not None:
            _say(begin=case)
        try:
            told = await call()
        except Exception as exc:  # whatever it is, it is what the caller is told
            told = f"raised {type(exc).__name__}"
            if case is None:
                raise
    if case is not None:
        _say(told=told)


async def _work(job: dict[str, Any]) -> None:
    contender = CONTENDERS[job["contender"]]
    await _call(contender, job["warm_up"], None)
    for case, url in enumerate(job["urls"]):
        await _call(contender, url, case)


def _main() -> None:
    # Nobody reads what the contenders say about a fault, and some say much.
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    try:
        asyncio.run(_work(json.load(sys.stdin)))
    except ImportError as exc:
        _say(not_available=f"{exc.name} is not installed")


if __name__ == "__main__":
    _main()
