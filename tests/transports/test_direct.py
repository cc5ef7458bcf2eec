"""`DirectTransport` alone: idle connections, time, addresses, contexts, closing. The faults are in tests/faults."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import select
import socket
import ssl

import httpx
import httpx2
import pytest
import uvloop
from support.certificates import authority, client_context, server_context
from support.loopback import OK, Received, Server, free_port, ok, silence, status
from support.posting import BODY, failed_post, post

from gateway360_async import ClientClosed, FailureKind, Gateway360Client, Ok, RetryPolicy, TransportFailure
from gateway360_async.transports import DirectTransport, Exchange, Phase, TransportError
from gateway360_async.transports._connection import Connection
from gateway360_async.transports._tls import TlsStream


@pytest.fixture
async def transport():
    made = DirectTransport()
    yield made
    await made.aclose()


@pytest.fixture
async def tls_transport():
    made = DirectTransport(verify=client_context())
    yield made
    await made.aclose()


def connections() -> list[Connection]:
    gc.collect()
    return [found for found in gc.get_objects() if type(found) is Connection]


async def posting(transport, server, **settings) -> tuple[asyncio.Task, Exchange]:
    """Post in a task, until the server has the whole request."""
    exchange, posts = Exchange(), server.posts
    call = asyncio.create_task(post(transport, server.url, exchange, **settings))
    await server.wait(lambda: server.posts > posts)
    return call, exchange


# --- Idle connections ------------------------------------------------------------------------------------


async def test_idle_connection_used_last_is_used_next(transport):
    async with Server() as server:
        await asyncio.gather(*(post(transport, server.url) for _ in range(3)))
        for _ in range(3):
            await post(transport, server.url)
            assert server.requests[-1].writer is server.requests[3].writer
    assert server.connections == 3


async def test_idle_connections_expire(transport, later):
    async with Server() as server:
        await asyncio.gather(*(post(transport, server.url) for _ in range(3)))
        assert len(server.open) == 3
        later(4.0)
        await server.wait(lambda: not server.open)
        assert (await post(transport, server.url)).body == OK
    assert server.connections == 4


async def test_idle_connection_past_its_time_is_not_used(transport, later):
    async with Server() as server:
        await post(transport, server.url)
        later(4.0)  # the event loop has not looked at its timers yet
        await post(transport, server.url)
    assert server.connections == 2


@pytest.mark.parametrize(
    ("said", "seconds"), [("timeout=3, max=9", 2.0), ("TIMEOUT=1", 0.0), ("max=5", 4.0), ("timeout=60", 4.0)]
)
async def test_idle_connection_ends_before_the_server_ends_it(transport, said, seconds, monkeypatch):
    async with Server(status(200, OK, keep_alive=said)) as server:
        loop = asyncio.get_running_loop()
        now = loop.time()
        with monkeypatch.context() as patch:
            patch.setattr(loop, "time", lambda: now)  # however long the machine takes
            await post(transport, server.url)
        (connection,) = connections()
        assert connection.expires == now + seconds


@pytest.mark.parametrize("limits", [httpx.Limits, httpx2.Limits])
async def test_idle_connections_are_no_more_than_asked_for(limits):
    transport = DirectTransport(limits=limits(max_keepalive_connections=1, keepalive_expiry=None))
    async with Server() as server:
        await asyncio.gather(*(post(transport, server.url) for _ in range(3)))
        await server.wait(lambda: len(server.open) == 1)
        await transport.aclose()


async def test_idle_connection_is_looked_at_without_poll_too(monkeypatch):
    """As on Windows."""
    monkeypatch.delattr(select, "poll")
    transport = DirectTransport()
    async with Server() as server:
        for _ in range(2):
            await post(transport, server.url)
        assert server.connections == 1
        server.requests[0].writer.write(
            b"x"
        )  # in the kernel, for the event loop has no turn before the next post
        await post(transport, server.url)
        assert server.connections == 2
        await transport.aclose()


async def test_idle_connections_of_two_urls_are_apart(transport):
    async with Server() as server:
        for path in ("/a?b=c", "/d", "/a?b=c", "/d"):
            await post(transport, server.url + path)
    assert [received.target for received in server.requests] == ["/a?b=c", "/d", "/a?b=c", "/d"]
    assert server.connections == 2


# --- The request -----------------------------------------------------------------------------------------


async def test_request_has_a_host_and_the_given_headers(transport):
    async with Server() as server:
        await post(transport, server.url, headers={"Accept": "application/json", "X-Some": "é"})
        await post(transport, server.url, headers={"Accept": "text/plain"})
    first, second = server.requests
    assert first.head.startswith(b"POST / HTTP/1.1\r\nHost: 127.0.0.1:")
    assert "x-some: é".encode("latin-1") in first.head.lower()
    assert second.header("accept") == "text/plain"
    assert second.header("x-some") is None
    assert server.connections == 1


@pytest.mark.parametrize("value", ["a\r\nx: y", "a\nb", "a\rb"])
async def test_request_header_with_a_line_break_is_refused(transport, value):
    with pytest.raises(ValueError, match="line break"):
        await post(transport, "http://127.0.0.1:9", headers={"X": value})


async def test_request_that_tls_cannot_write_may_have_been_sent(tls_transport, monkeypatch):
    def broken(self, data):
        raise ssl.SSLError(1, "protocol is shutdown")

    monkeypatch.setattr(TlsStream, "encrypt", broken)
    async with Server(tls=server_context("TLS 1.3")) as server:
        said = await failed_post(tls_transport, server.url, match="shutdown")
    assert said == (FailureKind.DISCONNECTED, Phase.SENT)


async def test_surplus_behind_an_early_answer_is_no_other_answer(transport):
    """The answer counts once the request is written whole, and its connection is not used again."""

    async def answers_early(received: Received) -> None:
        await received.reader.readuntil(b"\r\n\r\n")
        await received.write(b"HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n" + OK)
        (connection,) = connections()
        while not connection._answered_early:
            await asyncio.sleep(0)
        await received.write(b"HTTP/1.1 429 x\r\ncontent-length: 0\r\n\r\n")
        await received.reader.readexactly(20_000_000)
        await received.silence()

    async with Server(before=answers_early, receive_buffer=4096) as server:
        answer = await post(transport, server.url, body=b"x" * 20_000_000)
        assert (answer.http_status, answer.body) == (200, OK)
        server.before = None
        assert (await post(transport, server.url)).body == OK
    assert server.connections == 2


# --- Time ------------------------------------------------------------------------------------------------


async def test_read_timeout_counts_from_the_last_part(transport, later):
    async def in_parts(received: Received) -> None:
        await received.write(b"HTTP/1.1 200 OK\r\n")
        await received.silence()

    async with Server(in_parts) as server:
        call, exchange = await posting(transport, server, timeout=httpx.Timeout(5, read=60))
        (connection,) = connections()
        while connection._reader._head_bytes == 0:  # the first part has come
            await asyncio.sleep(0)
        later(61)
        with pytest.raises(TransportError, match="within 60 s") as caught:
            await call
    assert (caught.value.kind, exchange.phase) == (FailureKind.TIMEOUT, Phase.SENT)


async def test_read_timeout_of_none_never_ends(transport, later):
    async with Server() as server:
        await post(transport, server.url)
        server.behaviour = silence
        call, _ = await posting(transport, server, timeout=httpx.Timeout(None))
        (connection,) = connections()
        assert connection._timer is not None  # from its idle time
        later(60)
        while connection._timer is not None:
            await asyncio.sleep(0)
        assert not call.done()
        call.cancel()
        await asyncio.wait((call,))


async def test_read_timeout_that_is_shorter_ends_first(transport, later):
    async with Server(silence) as server:
        long, _ = await posting(transport, server, timeout=httpx.Timeout(5, read=60))
        short, _ = await posting(transport, server, timeout=httpx.Timeout(5, read=30))
        later(31)
        with pytest.raises(TransportError, match="within 30 s"):
            await short
        assert not long.done()
        later(31)
        with pytest.raises(TransportError, match="within 60 s"):
            await long


async def test_connect_timeout_is_a_connection_that_failed(transport, monkeypatch, later):
    asked = asyncio.Event()

    async def never(*args, **kwargs):
        asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", never)
    said = failed_post(
        transport, "http://gateway.test", "no connection was made within 7 s", timeout=httpx.Timeout(7)
    )
    call = asyncio.create_task(said)
    await asked.wait()
    later(8)
    assert await call == (FailureKind.CONNECT, Phase.UNSENT)
    assert connections() == []


# --- Addresses -------------------------------------------------------------------------------------------


def resolving(monkeypatch, *addresses):
    asked = []

    async def getaddrinfo(host, port, **kwargs):
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    return asked


async def test_name_with_a_dead_address_is_reached_by_the_other(transport, monkeypatch):
    """Happy eyeballs (RFC 8305): the gateway's first address refuses, and the second answers."""
    async with Server() as server:
        asked = resolving(monkeypatch, ("127.0.0.1", free_port()), ("127.0.0.1", server.port))
        assert (await post(transport, "http://gateway.test")).body == OK
        assert (await post(transport, "http://gateway.test")).body == OK
    assert asked == ["gateway.test"]
    assert server.requests[0].header("host") == "gateway.test"


async def test_address_is_asked_of_no_name_server(transport, monkeypatch):
    asked = resolving(monkeypatch)
    async with Server() as server:
        await post(transport, server.url)
    assert asked == []


@pytest.mark.skipif(not socket.has_ipv6, reason="Python was built without IPv6")
async def test_address_of_ipv6_is_reached(transport):
    answered = []

    async def serve(reader, writer):
        answered.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 15\r\n\r\n" + OK)
        writer.close()

    try:
        listener = await asyncio.start_server(serve, "::1", 0)
    except OSError:
        pytest.skip("this machine has no IPv6 loopback: enable it to run this test")
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        assert (await post(transport, f"http://[::1]:{port}")).body == OK
    assert f"Host: [::1]:{port}".encode() in answered[0]


@pytest.mark.parametrize("verify", ["given", "default"])
async def test_tls_asks_for_the_name_and_for_http1(verify, monkeypatch, tmp_path):
    """SNI and ALPN, as the server sees them; a dot at a name's end is no part of its certificate's name."""
    path = tmp_path / "authority.pem"
    authority().cert_pem.write_to_path(str(path))
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    names, chosen = [], []
    context = server_context("TLS 1.3", "gateway.test")
    context.set_alpn_protocols(["h2", "http/1.1"])
    monkeypatch.setattr(context, "sni_callback", lambda tls, name, _: names.append(name))

    async def note(received: Received) -> None:
        chosen.append(received.writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await received.answer()

    # A context of its own: httpcore asks for ALPN on the one that other tests give it.
    given = client_context.__wrapped__() if verify == "given" else None
    transport = DirectTransport(verify=given)
    async with Server(note, tls=context) as server:
        resolving(monkeypatch, ("127.0.0.1", server.port))
        assert (await post(transport, "https://gateway.test.")).body == OK
        await transport.aclose()
    assert names == ["gateway.test"]
    assert chosen == [None if verify == "given" else "http/1.1"]


# --- What the call leaves behind -------------------------------------------------------------------------

REQUEST_ID = contextvars.ContextVar("request id", default="none")


async def test_connection_and_its_timer_live_in_no_callers_context(monkeypatch):
    """Else the trace of the first request would collect what belongs to all that come later."""
    timers, received = [], []
    loop = asyncio.get_running_loop()
    call_at, buffer_updated = loop.call_at, Connection.buffer_updated

    def noting(when, callback, *args, context=None):
        handle = call_at(when, callback, *args, context=context)
        timers.append((handle, contextvars.copy_context() if context is None else context))
        return handle

    def receiving(self, size):
        received.append(REQUEST_ID.get())
        buffer_updated(self, size)

    monkeypatch.setattr(loop, "call_at", noting)
    monkeypatch.setattr(Connection, "buffer_updated", receiving)
    async with Server() as server:
        REQUEST_ID.set("the first request")
        async with Gateway360Client("k", sender="X", base_url=server.url) as client:
            assert isinstance(await client.request_pin("34666666111"), Ok)
            # Those that outlive the call: the deadline's and the connection's.
            contexts = [context for handle, context in timers if not handle.cancelled()]
    assert received == ["none"]
    assert len(contexts) == 2
    assert not [context for context in contexts if REQUEST_ID in context]


@pytest.mark.parametrize("ready", [False, True], ids=["direct", "ready client"])
async def test_failure_that_is_handled_is_no_event_for_task_watchers(ready):
    """Sentry's asyncio integration reports each error of a task; four attempts are one handled result."""
    raised = []

    def factory(loop, coro, **settings):
        async def watched():
            try:
                return await coro
            except Exception as exc:
                raised.append(exc)
                raise

        return asyncio.Task(watched(), loop=loop, **settings)

    loop = asyncio.get_running_loop()
    loop.set_task_factory(factory)
    try:
        async with httpx.AsyncClient(verify=False) as http:
            async with Gateway360Client(
                "k",
                sender="X",
                base_url=f"http://127.0.0.1:{free_port()}",
                transport=http if ready else None,
                retry=RetryPolicy(base_delay=0.0),
            ) as client:
                result = await client.request_pin("34666666111")
    finally:
        loop.set_task_factory(None)
    assert isinstance(result, TransportFailure)
    assert result.attempts == 4
    assert raised == []


# --- Closing ---------------------------------------------------------------------------------------------


async def test_transports_share_nothing_and_leave_nothing(transport):
    other = DirectTransport()
    async with Server() as server:
        await asyncio.gather(*(post(transport, server.url) for _ in range(3)))
        await post(other, server.url)
        assert len(connections()) == 4
        await transport.aclose()
        await server.wait(lambda: len(server.open) == 1)
        await post(other, server.url)
        await other.aclose()
        await server.wait(lambda: not server.open)
    assert server.connections == 4
    assert connections() == []


async def test_close_while_an_exchange_runs_ends_it(transport):
    async with Server(silence) as server:
        call, exchange = await posting(transport, server)
        await transport.aclose()
        with pytest.raises(TransportError, match="the transport was closed"):
            await call
        assert exchange.phase is Phase.SENT


async def test_close_while_it_connects_sends_nothing(transport, monkeypatch):
    asked, go_on = asyncio.Event(), asyncio.Event()
    async with Server() as server:

        async def slow(*args, **kwargs):
            asked.set()
            await go_on.wait()
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", slow)
        call = asyncio.create_task(post(transport, "http://gateway.test"))
        await asked.wait()
        closing = asyncio.create_task(transport.aclose())
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(ClientClosed):
            await call
        await closing
    assert server.posts == 0


async def test_close_tells_a_tls_peer(tls_transport):
    """A `close_notify` goes out, so the peer sees an end and not a truncation (RFC 8446, section 6.1)."""
    ended = asyncio.get_running_loop().create_future()

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(len(BODY))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n" + OK)
        ended.set_result(await reader.read())
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context("TLS 1.3"))
    async with listener:
        await post(tls_transport, f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}")
        await tls_transport.aclose()
        assert await ended == b""


# --- uvloop ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_uvloop_keeps_the_rules(tls):
    async def main() -> None:
        transport = DirectTransport(verify=client_context() if tls else None)
        async with Server(tls=server_context("TLS 1.3") if tls else None) as server:
            for _ in range(3):
                assert (await post(transport, server.url)).body == OK
            assert server.connections == 1
            await server.requests[-1].write(b"x")
            assert (await post(transport, server.url)).body == OK
            assert server.connections == 2
            call = asyncio.create_task(post(transport, server.url, body=b"x" * 20_000_000))
            server.behaviour = silence
            await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait((call,))
            server.behaviour = ok
            assert (await post(transport, server.url, body=b"x" * 5_000_000)).body == OK
            assert len(server.requests[-1].body) == 5_000_000
            await transport.aclose()
            await server.wait(lambda: not server.open)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


# --- Settings --------------------------------------------------------------------------------------------


async def test_settings_of_httpx2_are_taken():
    settings = {"timeout": httpx2.Timeout(3), "limits": httpx2.Limits(max_connections=2)}
    async with Server() as server:
        async with Gateway360Client("k", sender="X", base_url=server.url, **settings) as client:
            assert isinstance(await client.request_pin("34666666111"), Ok)
            assert "concurrency=2" in repr(client)


async def test_transport_from_the_environments_proxy_is_shown(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://user:p4ss@127.0.0.1:9")
    client = Gateway360Client("k", base_url="http://127.0.0.1:8")
    assert "transport=HttpxTransport()" in repr(client)
    assert "p4ss" not in repr(client)
    await client.aclose()


async def test_certificates_are_not_loaded_for_plain_http(transport, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    async with Server() as server:
        assert (await post(transport, server.url)).body == OK


async def test_certificates_that_cannot_be_read_are_one_attempt(monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    async with Gateway360Client("k", sender="X", base_url="https://127.0.0.1:9") as client:
        result = await client.request_pin("34666666111")
    assert isinstance(result, TransportFailure)
    assert (result.kind, result.attempts) == (FailureKind.TLS_REFUSED, 1)
    assert "SSL_CERT_FILE" in str(result.detail)


def test_call_cancelled_as_it_connects_on_uvloop_leaves_nothing():
    """uvloop tells no protocol of a transport that it closes while its `create_connection` is cancelled."""

    async def main():
        async with Server() as server:
            for passes in range(60):
                async with (
                    asyncio.timeout(10),
                    Gateway360Client("k3y", base_url=server.url, sender="P") as client,
                ):
                    call = asyncio.create_task(client.request_pin("34666666111"))
                    for _ in range(passes % 12):
                        await asyncio.sleep(0)
                    call.cancel()
                    await asyncio.wait([call])

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
