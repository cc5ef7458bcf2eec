"""`Sandbox`: the gateway, on a real HTTP server of its own in the running event loop.

Rules of this module:

- The socket is bound here, before anything is started: a port in use is an `OSError` to the caller.
- What a user may change while it runs is in `_controls.py`.
- Every method that is not a coroutine may be called from any thread.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Collection, Sequence
from types import TracebackType
from typing import Final, Self

from ._app import create_app
from ._arguments import choice, count, digits, seconds, statuses, text, texts, whole
from ._changes import Changes, Watch
from ._controls import Controls
from ._gateway import HLR_FAIL_PREFIX, Gateway
from ._http_server import HttpServer
from ._phone import phone_routes
from ._pins import VERIFY_ANSWERS, VerifyAnswer
from ._records import Message, PostedReport, ReceivedRequest
from ._reporter import CLOSED, Reporter

__all__ = ["Sandbox"]

_OWN_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # what listens on all is asked on one


class Sandbox(Controls):
    """The gateway, embedded: `async with Sandbox() as gateway:` starts it, and leaving the block closes it.

    It serves once: to start again, make another one, with the same `port` if need be.

    Args:
        api_key: The key that it accepts.
        host: The address to listen on. In a container, `"0.0.0.0"`.
        allowed_hosts: Names by which it may be asked, beside addresses and localhost: in a container, the service's name. Any
            other could be a website's, made to point here (DNS rebinding).
        port: The port to listen on; 0: any free one.
        balance: How many SMS the account can pay for; `None`: any number.
        latency: Seconds from having read a request to asking the gateway.
        hlr_fail_prefix: Numbers that begin with these digits fail the HLR lookup.
        blocked_keys: Keys that are refused as unauthorized.
        forbidden_senders: Senders that are refused as not allowed.
        clock: Seconds since any moment, as a float. The PINs' expiry goes by it.
        keep: How many messages, and how many requests, are kept at most, the newest; `None`: all. A PIN
            whose message is not kept any more cannot be confirmed.
        keep_alive: Seconds until an idle connection is closed.
        delivery: The statuses that are reported of each SMS whose request has a `report_url`, in turn: real
            POSTs, to this machine only. `()`: none. What became of them is in `Message.reports`.
        delivery_delay: Seconds before each of these reports.
        verify_answer: How a verification is answered, which the vendor does not publish: `"nested"`, the
            likeliest, has the fields in `result`; `"flat"` beside `status`; `"camel"` in camel case; `"list"` has
            `result` as a list of one. The client reads them all.
        on_message: Called with every SMS that is "sent". Its failure is logged, and changes no answer.

    Raises:
        ValueError: An argument is wrong; the text begins with its name.
    """

    def __init__(
        self,
        api_key: str = "sandbox-key",
        *,
        host: str = "127.0.0.1",
        allowed_hosts: Collection[str] = (),
        port: int = 0,
        balance: int | None = None,
        latency: float = 0.0,
        hlr_fail_prefix: str = HLR_FAIL_PREFIX,
        blocked_keys: Collection[str] = (),
        forbidden_senders: Collection[str] = (),
        clock: Callable[[], float] = time.time,
        keep: int | None = None,
        keep_alive: float = 5.0,
        delivery: Sequence[str] = ("DELIVRD",),
        delivery_delay: float = 0.0,
        verify_answer: VerifyAnswer = "nested",
        on_message: Callable[[Message], None] | None = None,
    ) -> None:
        self._host = text("host", host)  # an empty one would listen on every interface
        self._port = whole("port", port, 0, 65535)
        changes = Changes()
        gateway = Gateway(
            text("api_key", api_key),
            balance=count("balance", balance),
            hlr_fail_prefix=digits("hlr_fail_prefix", hlr_fail_prefix),
            blocked_keys=texts("blocked_keys", blocked_keys),
            forbidden_senders=texts("forbidden_senders", forbidden_senders),
            clock=clock,
            keep=count("keep", keep),
            verify_answer=choice("verify_answer", verify_answer, VERIFY_ANSWERS),
            on_message=self._sent,
            tell=changes.tell,
        )
        reporter = Reporter(
            statuses=statuses("delivery", delivery),
            delay=seconds("delivery_delay", delivery_delay),
            clock=clock,
            reported=lambda: changes.tell("report"),
        )
        super().__init__(gateway, reporter, changes, seconds("latency", latency))
        self._on_message = on_message
        names = {name.lower() for name in (self._host, *texts("allowed_hosts", allowed_hosts))}
        app = create_app(
            gateway,
            names=names,
            latency=lambda: self._latency,
            take_fault=self._script.take,
            routes=phone_routes(self, names, clock),
        )
        self._server: Final = HttpServer(app, keep_alive=seconds("keep_alive", keep_alive))
        self._base_url: str | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def _sent(self, message: Message) -> None:
        self._reporter.schedule(message)
        if self._on_message is not None:
            self._on_message(message)

    async def start(self) -> None:
        """Start to serve. Returns once it listens.

        Raises:
            OSError: The address cannot be listened on: the port is in use, for example.
            RuntimeError: It was started before.
        """
        if self._base_url is not None:
            raise RuntimeError("a sandbox can be started once: make another one")
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        # Where it is safe, this sets SO_REUSEADDR, so that a port is free again as soon as it is closed.
        listener = socket.create_server((self._host, self._port), family=family)
        # Inherited by every connection. asyncio sets it only on sockets that name their protocol, which
        # these do not, and without it each answer waits for the client's delayed ACK: 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        host = _OWN_ADDRESS.get(self._host, self._host)
        host = f"[{host}]" if family == socket.AF_INET6 else host
        self._base_url = f"http://{host}:{listener.getsockname()[1]}"
        self._loop = asyncio.get_running_loop()
        await self._server.start(listener)

    async def aclose(self) -> None:
        """Stop to serve. Requests in flight have a fifth of a second to be answered.

        Delivery reports that are still to come are dropped, and whoever watches comes to an end.
        """
        if self._base_url is None:
            return
        self._changes.close()  # first: a page that watches would hold its connection open
        try:
            await self._server.aclose()
        finally:
            await self._reporter.aclose()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def base_url(self) -> str:
        """Where it listens: `"http://127.0.0.1:43211"`, for example. It stays when the sandbox is closed.

        Raises:
            RuntimeError: It was not started.
        """
        if self._base_url is None:
            raise RuntimeError("the sandbox was not started: use `async with Sandbox() as gateway`")
        return self._base_url

    @property
    def api_key(self) -> str:
        """The key that it accepts."""
        return self._gateway.api_key

    @property
    def messages(self) -> list[Message]:
        """Every SMS that was "sent", the oldest first. The list itself, which may be cleared."""
        return self._gateway.messages

    @property
    def requests(self) -> list[ReceivedRequest]:
        """Every request that was answered, the oldest first. The list itself, which may be cleared."""
        return self._gateway.requests

    def messages_to(self, msisdn: str) -> list[Message]:
        """Return the SMS to one number, the oldest first. The number is in digits, as it was sent."""
        return [message for message in self._gateway.messages if message.msisdn == msisdn]

    def last_pin(self, msisdn: str) -> str | None:
        """Return the PIN of the newest SMS to a number, valid or not; `None`: there was none."""
        message = self._gateway.last_message(msisdn)
        return None if message is None else message.pin

    def check_pin(self, msisdn: str, pin: str) -> bool:
        """Say whether a PIN confirms a number, as the gateway would.

        It has to be the number's last PIN, neither expired nor used up. A failed try counts, and a PIN
        confirms once.
        """
        return self._gateway.check_pin(msisdn, pin)

    @property
    def keep(self) -> int | None:
        """How many messages, and how many requests, are kept at most; `None`: all."""
        return self._gateway.keep

    def clear(self) -> None:
        """Forget the messages and the requests. A PIN of theirs cannot be confirmed any more.

        Their numbers (`Message.id`) are not given again, and what was set stays set.
        """
        self._gateway.clear()

    def undo_clear(self) -> None:
        """Bring back what `clear` took last. A PIN that was replaced since then stays void."""
        self._gateway.undo_clear()

    def watch(self) -> Watch:
        """Watch what changes from now on, in the running event loop: `async for change in gateway.watch():`.

        A `Change` says of what kind it is, and no more: `messages`, `requests` and the settings say the rest.
        Any number may watch, also from a loop that is not the sandbox's.

        Raises:
            RuntimeError: No event loop runs here.
        """
        return self._changes.watch()

    async def report(self, message: Message, status: str = "DELIVRD") -> PostedReport:
        """Post one delivery report of an SMS, now, whatever `delivery` says. From any event loop.

        Args:
            message: One of `messages`, whose request had a `report_url`.
            status: What it says: any string, as the vendor's set is open.

        Returns:
            What became of it, which is in `message.reports`, too. Trouble is not raised.

        Raises:
            ValueError: An argument is wrong; the text begins with its name.
            RuntimeError: The sandbox was not started, or is closed.
        """
        text("status", status)
        if self._loop is None or self._reporter.closed:
            raise RuntimeError(CLOSED)
        posting = self._reporter.post(message, status)
        if asyncio.get_running_loop() is self._loop:
            return await posting
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(posting, self._loop))
