"""Who is compared: the name, the label and the making of each.

Rules of this module:

- A contender is made outside of what is counted, makes one logical call, and is closed. What the call
  raises, or returns, is what its caller is told.
- It imports nothing of a contender: that is done in the contender's own process.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, TypeAlias

import attrs

from . import ours, people, sdks

__all__ = ["CONTENDERS", "Contender"]

Made: TypeAlias = AbstractAsyncContextManager[Callable[[], Awaitable[str]]]


@attrs.frozen
class Contender:
    """One way to send.

    Args:
        label: The head of its row.
        make: Makes it for a base URL. What it gives makes one logical call, and says what it was told.
        packages: The distributions whose versions count, the main one first.
        tls: Whether it speaks TLS only.
        note: What a reader has to know.
    """

    label: str
    make: Callable[[str], Made]
    packages: tuple[str, ...]
    tls: bool = False
    note: str = ""


CONTENDERS: Final = {
    "ours": Contender("**ours, as it comes**", ours.as_it_comes, ("httptools",)),
    "ours-httpx": Contender("**ours, `HttpxTransport`**", ours.over_httpx, ("httpx",)),
    "httpx": Contender("httpx alone", people.httpx_alone, ("httpx",), note="no retries"),
    "httpx-loop": Contender(
        "httpx in a loop of three tries", people.httpx_loop, ("httpx",), note="on `httpx.HTTPError`"
    ),
    "httpx-stamina": Contender(
        "httpx + stamina",
        people.httpx_stamina,
        ("stamina", "httpx"),
        note="on `httpx.HTTPError`, as in its README",
    ),
    "httpx-tenacity": Contender(
        "httpx + tenacity",
        people.httpx_tenacity,
        ("tenacity", "httpx"),
        note="on any exception, its default",
    ),
    "httpx-retries": Contender(
        "httpx + httpx-retries", people.httpx_retries, ("httpx-retries", "httpx"), note="POST allowed"
    ),
    "aiohttp-retry": Contender(
        "aiohttp + aiohttp-retry",
        people.aiohttp_retry,
        ("aiohttp-retry", "aiohttp"),
        note="its defaults, which are every method and every 5xx, and no exception",
    ),
    "aiohttp-retry-on": Contender(
        "aiohttp + aiohttp-retry, exceptions named",
        people.aiohttp_retry_on,
        ("aiohttp-retry", "aiohttp"),
        note="`exceptions={ClientError, TimeoutError}`, `statuses={429}`",
    ),
    "twilio": Contender("`twilio` (Verify)", sdks.twilio, ("twilio",)),
    "vonage": Contender(
        "`vonage` (Verify)",
        sdks.vonage,
        ("vonage-verify", "vonage-http-client"),
        tls=True,
        note="TLS only; its timeout takes whole seconds: 1 s",
    ),
    "infobip": Contender("`infobip-api-python-client` (2FA)", sdks.infobip, ("infobip-api-python-client",)),
    "sinch": Contender("`sinch` (SMS)", sdks.sinch, ("sinch",)),
    "telesign": Contender("`telesign` (SMS)", sdks.telesign, ("telesign",)),
    "telnyx": Contender("`telnyx` (Verify)", sdks.telnyx, ("telnyx",)),
    "prelude": Contender("`prelude-python-sdk` (Verify)", sdks.prelude, ("prelude-python-sdk",)),
}
