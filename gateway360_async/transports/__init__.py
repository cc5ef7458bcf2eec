"""The port to HTTP, and its adapters.

`Transport` is the protocol that the client speaks. `DirectTransport` is the default, and steps aside for
`HttpxTransport` where a proxy applies, or while httpx is mocked or instrumented. Another adapter sets
`Exchange.phase` as it goes, raises `TransportError`, and hands over what it caught through `scrubbed`.
"""

from ._base import KEEPALIVE_EXPIRY, Answer, Exchange, Phase, Transport, TransportError, chain, scrubbed
from ._direct import DirectTransport
from ._httpx import HttpxTransport

__all__ = [
    "KEEPALIVE_EXPIRY",
    "Answer",
    "DirectTransport",
    "Exchange",
    "HttpxTransport",
    "Phase",
    "Transport",
    "TransportError",
    "chain",
    "scrubbed",
]
