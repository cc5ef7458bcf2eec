"""A sandbox that is asked without HTTP, by a clock of its own; and one request over HTTP."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx

from gateway360_async.sandbox import Sandbox
from gateway360_async.sandbox._faults import Fault
from gateway360_async.testing import FakeClock

KEY = "k3y-0f-the-account"
NUMBER = "34666666111"
OTHER = "34666666222"
PATH = "/api/2fa/request"
LEFT_OUT = object()


def fields(**changed: Any) -> dict[str, Any]:
    """The fields of a request, of which some are other ones, or left out."""
    good = {"api_key": KEY, "msisdn": NUMBER, "sender": "GOOD PIZZA"}
    return {name: value for name, value in {**good, **changed}.items() if value is not LEFT_OUT}


class Account(Sandbox):
    """A sandbox that serves no HTTP."""

    def __init__(self, **settings: Any) -> None:
        self.time = FakeClock()
        super().__init__(KEY, **{"clock": self.time, "delivery": (), **settings})

    def post(
        self, body: Any, content_type: str | None = "application/json", operation: Any = "request"
    ) -> tuple[int, dict[str, Any]]:
        """Ask, and return the HTTP status and the envelope, which are in the log as well."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        response = self._handle(operation, f"/api/2fa/{operation}", content_type, raw, Fault())
        answer = response.status_code, json.loads(response.body)
        if self.keep is None:
            kept = self.requests[-1]
            assert (kept.http_status, kept.envelope, kept.size) == (*answer, len(raw))
            assert (kept.operation, kept.path, kept.fault) == (operation, f"/api/2fa/{operation}", None)
            assert kept.at == self.time()
        return answer

    def ask(self, **changed: Any) -> str:
        """Ask for an SMS, and return the error id, or `"ok"`."""
        _, envelope = self.post(fields(**changed))
        return envelope.get("error_id", envelope["status"])

    def send(self, **changed: Any) -> str:
        """Send an SMS, and return its PIN."""
        assert self.ask(**changed) == "ok"
        return self.messages[-1].pin if self.messages else ""

    def verify(self, pin: Any = "x", **changed: Any) -> tuple[int, dict[str, Any]]:
        """Verify a PIN, and return the HTTP status and the envelope."""
        return self.post(fields(sender=LEFT_OUT, pin=pin, **changed), operation="verify")

    @property
    def reasons(self) -> list[str | None]:
        """Why each PIN is void."""
        return [message.void_reason for message in self.messages]


def http_of(sandbox: Sandbox, **settings: Any) -> httpx.AsyncClient:
    """An HTTP client of a sandbox that is started."""
    return httpx.AsyncClient(base_url=sandbox.base_url, trust_env=False, **settings)


async def ask(sandbox: Sandbox, operation: str = "request", **changed: Any) -> httpx.Response:
    """Ask a sandbox that is started, over HTTP."""
    async with http_of(sandbox) as http:
        return await http.post(
            f"/api/2fa/{operation}", json=fields(**{"api_key": sandbox.api_key, **changed})
        )


async def until(condition: Any) -> None:
    """Let others go on until something is true."""
    while not condition():
        await asyncio.sleep(0.001)
