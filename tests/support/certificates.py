"""TLS on loopback: an authority of our own, and what server and client make of it."""

from __future__ import annotations

import ssl
from functools import cache

import trustme
from support.loopback import Behaviour, Received

_VERSIONS = {"TLS 1.2": ssl.TLSVersion.TLSv1_2, "TLS 1.3": ssl.TLSVersion.TLSv1_3}


@cache
def authority() -> trustme.CA:
    return trustme.CA()


@cache
def server_context(layer: str, name: str = "127.0.0.1") -> ssl.SSLContext | None:
    """A server's settings for one version of TLS; `None` for "plain"."""
    if layer == "plain":
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = _VERSIONS[layer]
    authority().issue_cert(name).configure_cert(context)
    return context


@cache
def asking_for_a_certificate(layer: str) -> ssl.SSLContext:
    """A server's settings that want the client to prove itself, in one version of TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = _VERSIONS[layer]
    context.verify_mode = ssl.CERT_REQUIRED
    authority().issue_cert("127.0.0.1").configure_cert(context)
    authority().configure_trust(context)
    return context


@cache
def client_context(*, trusting: bool = True) -> ssl.SSLContext:
    """A client's settings, made once: the machine's certificates take long to read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if trusting:
        authority().configure_trust(context)
    return context


def handshake(context: ssl.SSLContext, then: bytes = b"") -> Behaviour:
    """Shake hands by hand, say what is wrong, and close; or say `then` in the last segment, and wait.

    asyncio's own server leaves out the alert by which TLS says why a handshake fails, and so looks like a
    server that broke down.
    """

    async def shake(received: Received) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=True)
        try:
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    await received.write(outgoing.read())
                    incoming.write(await received.reader.read(65536))
            if then:
                tls.write(then)
                await received.write(outgoing.read())
                await received.silence()
        except ssl.SSLError:
            await received.write(outgoing.read())
        received.writer.close()

    return shake
