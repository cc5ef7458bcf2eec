"""`Sandbox`: the gateway, on an HTTP server of its own in the running event loop.

- The socket is bound before anything is started: a port in use is an `OSError` to the caller.
- Every method that is not a coroutine may be called from any thread.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Collection, Sequence
from types import TracebackType
from typing import Final, Self

from starlette.responses import Response

from ._app import create_app
from ._gateway import HLR_FAIL_PREFIX, Gateway
from ._http_server import HttpServer
from ._phone import phone_routes
from ._records import Message, Operation, PostedReport, VerifyAnswer
from ._reporter import CLOSED, Reporter
from ._settings import seconds, text, texts, whole

__all__ = ["Sandbox"]

_OWN_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # a server on all addresses is asked on one


class Sandbox(Gateway):
    """The gateway, embedded: `async with Sandbox() as gateway:` starts and closes it.

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
            POSTs, to this machine only. `()`: none. `Message.reports` has their results.
        delivery_delay: Seconds before each of these reports.
        verify_answer: The shape of the answer to a verification, which the vendor does not publish: `"nested"`, the
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
        super().__init__(
            api_key,
            blocked_keys=blocked_keys,
            forbidden_senders=forbidden_senders,
            clock=clock,
            keep=keep,
            on_message=on_message,
        )
        self.balance = balance
        self.latency = latency
        self.hlr_fail_prefix = hlr_fail_prefix
        self.delivery = delivery
        self.delivery_delay = delivery_delay
        self.verify_answer = verify_answer
        self._host = text("host", host)  # an empty one would listen on every interface
        self._port = whole("port", port, 0, 65535)
        self._reporter: Final = Reporter(clock, lambda: self._changes.tell("report"))
        names = {name.lower() for name in (self._host, *texts("allowed_hosts", allowed_hosts))}
        app = create_app(self._answer, names, phone_routes(self, names, clock))
        self._server: Final = HttpServer(app, keep_alive=seconds("keep_alive", keep_alive))
        self._base_url: str | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def _answer(
        self, operation: Operation, path: str, content_type: str | None, body: bytes
    ) -> Response | None:
        # A request's fault is decided when it has come. The gateway is asked after the latency has passed, whether
        # or not the client still waits: one that gives up on a slow answer does not stop its SMS.
        fault = self._take_fault()
        if (delay := self.latency + fault.seconds) > 0:
            await asyncio.sleep(delay)
        return self._handle(operation, path, content_type, body, fault)

    def _sent(self, message: Message) -> None:
        self._reporter.schedule(message, self.delivery, self.delivery_delay)
        super()._sent(message)

    async def start(self) -> None:
        """Start to serve. Returns once it listens.

        Raises:
            OSError: The address cannot be listened on: the port is in use, for example.
            RuntimeError: It was started before.
        """
        if self._base_url is not None:
            raise RuntimeError("a sandbox can be started once: make another one")
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        # This sets SO_REUSEADDR where it is safe, so that a port is free again as soon as it is closed.
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

        Delivery reports that are still to come are dropped, and every `watch` comes to an end.
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
        """The URL that it listens on, such as `"http://127.0.0.1:43211"`, also once closed.

        Raises:
            RuntimeError: It was not started.
        """
        if self._base_url is None:
            raise RuntimeError("the sandbox was not started: use `async with Sandbox() as gateway`")
        return self._base_url

    async def report(self, message: Message, status: str = "DELIVRD") -> PostedReport:
        """Post one delivery report of an SMS, now, from any event loop.

        Args:
            message: One of `messages`, whose request had a `report_url`.
            status: The state of the SMS to tell: any string, as the vendor's set is open.

        Returns:
            Its result, which is in `message.reports`, too. Trouble is not raised.

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
