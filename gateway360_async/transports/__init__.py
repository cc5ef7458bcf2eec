"""The port to HTTP, and its adapters.

`Transport` is the protocol that the client speaks, and `HttpxTransport` the default. Another adapter sets
`Exchange.phase` as it goes, raises `TransportError`, and hands over what it caught through `scrubbed`.
"""

from ._base import Answer, Exchange, Phase, Transport, TransportError, chain, scrubbed
from ._httpx import KEEPALIVE_EXPIRY, HttpxTransport

__all__ = [
    "KEEPALIVE_EXPIRY",
    "Answer",
    "Exchange",
    "HttpxTransport",
    "Phase",
    "Transport",
    "TransportError",
    "chain",
    "scrubbed",
]
