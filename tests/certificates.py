"""TLS on loopback: an authority of our own, and what server and client make of it."""

from __future__ import annotations

import ssl
from functools import cache

import trustme
from loopback import Behaviour, Received


@cache
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(name: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert(name).configure_cert(context)
    return context


def asking_for_a_certificate(version: ssl.TLSVersion) -> ssl.SSLContext:
    """A server's settings that want the client to prove itself, in one version of TLS."""
    context = server_context()
    context.minimum_version = context.maximum_version = version
    context.verify_mode = ssl.CERT_REQUIRED
    authority().configure_trust(context)
    return context


def client_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority().configure_trust(context)
    return context


def handshake(context: ssl.SSLContext) -> Behaviour:
    """Shake hands by hand, say what is wrong, and close.

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
        except ssl.SSLError:
            await received.write(outgoing.read())
        received.writer.close()

    return shake
