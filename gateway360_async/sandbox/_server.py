"""`Sandbox`: the gateway, on a real HTTP server of its own in the running event loop.

Rules of this module:

- The socket is bound here, before anything is started: a port in use is an `OSError` to the caller.
- What a user may set while it runs (`balance`, `latency`) is checked when it is set.
"""

# The annotations are for users' type checkers; the checks are for everybody else at run time.
# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

import math
import socket
import time
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Any, Final, Self

from ._app import create_app
from ._gateway import HLR_FAIL_PREFIX, Gateway
from ._http_server import HttpServer
from ._records import Message, ReceivedRequest

__all__ = ["Sandbox"]


class Sandbox:
    """The gateway, embedded: `async with Sandbox() as gateway:` starts it, and leaving the block closes it.

    It serves once: to start again, make another one, with the same `port` if need be.

    Args:
        api_key: The key that it accepts.
        host: The address to listen on.
        port: The port to listen on; 0: any free one.
        balance: How many SMS the account can pay for; `None`: any number.
        latency: Seconds from having read a request to asking the gateway.
        hlr_fail_prefix: Numbers that begin with this fail the HLR lookup.
        blocked_keys: Keys that are refused as unauthorized.
        forbidden_senders: Senders that are refused as not allowed.
        clock: Seconds since any moment, as a float. The PINs' expiry goes by it.
        keep: How many messages, and how many requests, are kept at most, the newest; `None`: all. A PIN
            whose message is not kept any more cannot be confirmed.
        keep_alive: Seconds until an idle connection is closed.
        on_message: Called with every SMS that is "sent". Its failure is logged, and changes no answer.

    Raises:
        ValueError: An argument is wrong; the text begins with its name.
    """

    def __init__(
        self,
        api_key: str = "sandbox-key",
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        balance: int | None = None,
        latency: float = 0.0,
        hlr_fail_prefix: str = HLR_FAIL_PREFIX,
        blocked_keys: Collection[str] = (),
        forbidden_senders: Collection[str] = (),
        clock: Callable[[], float] = time.time,
        keep: int | None = None,
        keep_alive: float = 5.0,
        on_message: Callable[[Message], None] | None = None,
    ) -> None:
        _require_text("api_key", api_key)
        _require_text("host", host)  # an empty one would listen on every interface
        if not 0 <= _whole("port", port) <= 65535:
            raise ValueError("port: expected 0 to 65535")
        _require_text("hlr_fail_prefix", hlr_fail_prefix)  # every number begins with an empty one
        _require_texts("blocked_keys", blocked_keys)
        _require_texts("forbidden_senders", forbidden_senders)
        self._host = host
        self._port = port
        self._latency = _seconds("latency", latency)
        self._gateway: Final = Gateway(
            api_key,
            balance=_count("balance", balance),
            hlr_fail_prefix=hlr_fail_prefix,
            blocked_keys=blocked_keys,
            forbidden_senders=forbidden_senders,
            clock=clock,
            keep=_count("keep", keep),
            on_message=on_message,
        )
        app = create_app(self._gateway, latency=lambda: self._latency)
        self._server: Final = HttpServer(app, keep_alive=_seconds("keep_alive", keep_alive))
        self._base_url: str | None = None

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
        host = f"[{self._host}]" if family == socket.AF_INET6 else self._host
        self._base_url = f"http://{host}:{listener.getsockname()[1]}"
        await self._server.start(listener)

    async def aclose(self) -> None:
        """Stop to serve. Requests in flight have a fifth of a second to be answered."""
        if self._base_url is not None:
            await self._server.aclose()

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

    @property
    def balance(self) -> int | None:
        """How many SMS the account can still pay for; `None`: any number. Can be set."""
        return self._gateway.balance

    @balance.setter
    def balance(self, value: int | None) -> None:
        self._gateway.balance = _count("balance", value)

    @property
    def latency(self) -> float:
        """Seconds from having read a request to asking the gateway. Can be set; counts from the next request.

        A client that gives up in the meantime does not stop its SMS, as with any gateway.
        """
        return self._latency

    @latency.setter
    def latency(self, value: float) -> None:
        self._latency = _seconds("latency", value)

    def block(self, key: str | None = None) -> None:
        """Refuse a key from now on; `None`: the account's."""
        self._gateway.blocked_keys.add(self.api_key if key is None else key)

    def unblock(self, key: str | None = None) -> None:
        """Accept a key again, if it is the account's; `None`: the account's."""
        self._gateway.blocked_keys.discard(self.api_key if key is None else key)

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


def _require_text(name: str, value: Any) -> None:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name}: expected a string that is not empty")


def _require_texts(name: str, value: Any) -> None:
    # A string is a collection of strings, too: of its characters, which nobody means.
    if isinstance(value, str) or not isinstance(value, Collection):
        raise ValueError(f"{name}: expected a collection of strings")  # noqa: TRY004  # one type for all


def _whole(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name}: expected a whole number")  # noqa: TRY004  # one type for all
    return value


def _count(name: str, value: int | None) -> int | None:
    if value is not None and _whole(name, value) < 0:
        raise ValueError(f"{name}: expected a whole number, 0 or more, or None")
    return value


def _seconds(name: str, value: Any) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < math.inf:
        raise ValueError(f"{name}: expected a finite number of seconds, 0 or more")
    return float(value)
