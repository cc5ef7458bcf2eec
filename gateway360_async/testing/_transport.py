"""The transport of the fixture `gateway360_client`: nothing of it is left when a call is over.

Rules of this module:

- Each exchange has a connection of its own, and waits until that is closed, in the loop that it is in. Who ends a
  test's loop, and how (pytest-asyncio, anyio, `asyncio.run`; with its last tasks or without), is then the same.
- It goes to a sandbox: no proxy, no certificates, and so nothing of the machine's to load.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping

import httpx

from ..transports import Answer, DirectTransport, Exchange

__all__ = ["OneShotTransport"]


class OneShotTransport:
    """A `Transport` whose connections end with their answers."""

    def __init__(self) -> None:
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    async def post(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes,
        timeout: httpx.Timeout,
        max_bytes: int,
        exchange: Exchange,
    ) -> Answer:
        """POST once and read the answer; see `Transport.post`."""
        one = DirectTransport(verify=self._tls)
        try:
            return await one.post(
                url, headers=headers, body=body, timeout=timeout, max_bytes=max_bytes, exchange=exchange
            )
        finally:
            await one.aclose()

    async def aclose(self) -> None:
        """Do nothing: there is nothing left to close."""
