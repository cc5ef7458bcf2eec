"""`gateway360 sandbox`: the gateway on a port, for a person and their app."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import time
import webbrowser
from contextlib import AsyncExitStack, suppress
from typing import Final

import typer
from rich.console import Console
from rich.text import Text

from gateway360_async._redaction import printable
from gateway360_async.sandbox import HLR_FAIL_PREFIX, Message, Sandbox

from ._options import SandboxOptions
from ._problems import OK, UsageProblem
from ._words import count

__all__ = ["sandbox"]

_KEPT: Final = 10_000
"""The SMS, and the requests, that are kept: it may run for days."""


async def sandbox(options: SandboxOptions) -> int:
    """Serve until a signal comes. Gives the exit code.

    With JSON, a line is printed when it is ready, and one for each SMS.
    """
    console = Console(highlight=False, soft_wrap=True, quiet=options.json)

    def event(name: str, **fields: object) -> None:
        if options.json:
            typer.echo(json.dumps({"event": name, **fields}))

    def show(message: Message) -> None:
        sms = {name: getattr(message, name) for name in ("sender", "msisdn", "text", "pin", "sent_at")}
        event("sms", **sms)
        moment = time.strftime("%H:%M:%S", time.localtime(message.sent_at))
        told = (printable(text) for text in (message.sender, message.msisdn, message.text))
        console.print(Text("{}  {} → {}  {}".format(moment, *told)))

    stopped = asyncio.Event()
    with suppress(NotImplementedError):  # on Windows Ctrl-C cancels this task
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with AsyncExitStack() as stack:
        served = Sandbox(
            host=options.host,
            port=options.port,
            allowed_hosts=options.allow_host or (),
            balance=options.balance,
            latency=options.latency,
            keep=_KEPT,
            on_message=show,
        )
        try:
            gateway = await stack.enter_async_context(served)
        except OSError as exc:
            raise _problem(exc, options) from None
        event("ready", base_url=gateway.base_url, api_key=gateway.api_key)
        page = f"{gateway.base_url}/"
        console.print(
            f"The sandbox listens on {gateway.base_url}. Point your app, or another terminal, at it:\n\n"
            f"  export GATEWAY360_BASE_URL={gateway.base_url}\n"
            f"  export GATEWAY360_API_KEY={gateway.api_key}\n\n"
            f"The phone, with every SMS and switches for faults, is at {page}\n\n"
            f"Numbers that start with {HLR_FAIL_PREFIX} fail the HLR lookup. Each SMS shows here; Ctrl-C ends.\n"
        )
        # In a thread: a browser of the terminal keeps its caller until it is left.
        if options.open_page and not await asyncio.to_thread(webbrowser.open, page):
            console.print("No browser could be started here: open the page yourself.\n")
        with suppress(asyncio.CancelledError):
            await stopped.wait()
        messages, requests = len(gateway.messages), len(gateway.requests)
        of_the_last = f" (of the last {count(_KEPT)} each)" if _KEPT in (messages, requests) else ""
        console.print(f"{count(messages)} SMS, {count(requests)} requests{of_the_last}")
    return OK


def _problem(exc: OSError, options: SandboxOptions) -> UsageProblem:
    number = exc.errno or 0
    if number == errno.EADDRNOTAVAIL or number < 0:  # of a name that is not found
        return UsageProblem(f"--host {options.host}: is no address of this machine")
    problem = "is in use by another program" if number == errno.EADDRINUSE else os.strerror(number)
    return UsageProblem(f"--port {options.port}: {problem}; give another, or 0 for a free one")
