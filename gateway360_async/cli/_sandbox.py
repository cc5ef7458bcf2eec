"""`gateway360 sandbox`: the gateway on a port, for a person and their app."""

from __future__ import annotations

import asyncio
import errno
import json as jsonlib
import os
import signal
import time
import webbrowser
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from typing import Final

import typer
from rich.console import Console
from rich.text import Text

from gateway360_async._redaction import printable
from gateway360_async.sandbox import HLR_FAIL_PREFIX, Message, Sandbox

from ._problems import OK, UsageProblem
from ._words import count

__all__ = ["sandbox"]

_KEPT: Final = 10_000
"""The SMS, and the requests, that are kept: it may run for days."""


async def sandbox(
    host: str,
    port: int,
    allowed_hosts: Sequence[str],
    balance: int | None,
    latency: float,
    *,
    open_page: bool,
    json: bool,
) -> int:
    """Serve until somebody interrupts. Gives the exit code.

    Args:
        host: The address to listen on.
        port: The port; 0 takes a free one.
        allowed_hosts: Names by which it may be asked.
        balance: SMS until the account is empty; `None`: no end.
        latency: Seconds before each answer.
        open_page: Whether to show the phone's page in the browser.
        json: Whether to print a JSON line when it is ready, and one for each SMS, instead of texts.
    """
    console = Console(highlight=False, soft_wrap=True, quiet=json)

    def show(message: Message) -> None:
        if json:
            sms = {
                "sender": message.sender,
                "msisdn": message.msisdn,
                "text": message.text,
                "pin": message.pin,
            }
            line({"event": "sms", **sms, "sent_at": message.sent_at})
        moment = time.strftime("%H:%M:%S", time.localtime(message.sent_at))
        told = (printable(text) for text in (message.sender, message.msisdn, message.text))
        console.print(Text("{}  {} → {}  {}".format(moment, *told)))

    stopped = asyncio.Event()
    with suppress(NotImplementedError):  # on Windows Ctrl-C cancels this task
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with AsyncExitStack() as stack:
        served = Sandbox(
            host=host,
            port=port,
            allowed_hosts=allowed_hosts,
            balance=balance,
            latency=latency,
            keep=_KEPT,
            on_message=show,
        )
        try:
            gateway = await stack.enter_async_context(served)
        except OSError as exc:
            in_use = exc.errno == errno.EADDRINUSE
            problem = "is in use by another program" if in_use else os.strerror(exc.errno or 0)
            if exc.errno == errno.EADDRNOTAVAIL or (exc.errno or 0) < 0:  # of a name that is not found
                raise UsageProblem(f"--host {host}: is no address of this machine") from None
            raise UsageProblem(f"--port {port}: {problem}; give another, or 0 for a free one") from None
        if json:
            line({"event": "ready", "base_url": gateway.base_url, "api_key": gateway.api_key})
        console.print(
            f"The sandbox listens on {gateway.base_url}. Point your app, or another terminal, at it:\n"
        )
        console.print(f"  export GATEWAY360_BASE_URL={gateway.base_url}")
        console.print(f"  export GATEWAY360_API_KEY={gateway.api_key}\n")
        page = f"{gateway.base_url}/"
        console.print(f"The phone, with every SMS and switches for faults, is at {page}\n")
        console.print(
            f"Numbers that start with {HLR_FAIL_PREFIX} fail the HLR lookup. Each SMS shows here; Ctrl-C ends.\n"
        )
        # In a thread: a browser of the terminal keeps its caller until it is left.
        if open_page and not await asyncio.to_thread(webbrowser.open, page):
            console.print("No browser could be started here: open the page yourself.\n")
        with suppress(asyncio.CancelledError):
            await stopped.wait()
        kept = [len(kept) for kept in (gateway.messages, gateway.requests)]
        of_the_last = f" (of the last {count(_KEPT)} each)" if max(kept) == _KEPT else ""
        console.print(f"{count(kept[0])} SMS, {count(kept[1])} requests{of_the_last}")
    return OK


def line(event: dict[str, object]) -> None:
    """Print one event for a program, which reads it at once."""
    typer.echo(jsonlib.dumps(event))
