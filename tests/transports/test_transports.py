"""The transports on real sockets: the phase of an exchange, TLS, proxies, idle connections.

The same tests for `DirectTransport`, and for `HttpxTransport` over a client of its own, and over ready ones of httpx
and httpx2.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import pickle
import random
import socket
import ssl

import h2.config
import h2.connection
import h2.events
import httpx
import httpx2
import pytest
import trustme
from loopback import OK, Received, Server, close, free_port, ok, raw, rst, silence, status

from gateway360_async import ClientClosed, FailureKind, InvalidConfiguration
from gateway360_async.transports import (
    Answer,
    DirectTransport,
    Exchange,
    HttpxTransport,
    Phase,
    TransportError,
    scrubbed,
)
from gateway360_async.transports._httpx import _pool_of

BODY = b'{"api_key":"k3y"}'
TIMEOUT = httpx.Timeout(5)
MAX = 64 * 1024


async def post(transport: HttpxTransport, url: str, exchange: Exchange | None = None, **settings) -> Answer:
    return await transport.post(
        url,
        headers={"Content-Type": "application/json"},
        body=BODY,
        exchange=exchange or Exchange(),
        **{"timeout": TIMEOUT, "max_bytes": MAX} | settings,
    )


@contextlib.asynccontextmanager
async def transport_of(mode: str, **settings):
    """The transports have to behave alike."""
    if mode in OURS:
        transport = OURS[mode](**settings)
        yield transport
        await transport.aclose()
    else:
        library = READY[mode]
        limits = library.Limits(max_connections=20, max_keepalive_connections=20, keepalive_expiry=4)
        client_settings = {"verify": settings["verify"]} if "verify" in settings else {}
        async with library.AsyncClient(limits=limits, **client_settings) as client:
            transport = HttpxTransport(client)
            yield transport
            await transport.aclose()
            assert not client.is_closed


OURS = {"direct": DirectTransport, "own": HttpxTransport}
READY = {"ready": httpx, "ready2": httpx2}
every = pytest.mark.parametrize("mode", [*OURS, *READY])


# --- The answer ------------------------------------------------------------------------------------------


@every
async def test_an_answer_is_read_as_it_came(mode):
    async with Server(status(418, b"\xff\x00", x_Some="Thing")) as server, transport_of(mode) as transport:
        exchange = Exchange()
        answer = await post(transport, server.url, exchange)
    assert (answer.http_status, answer.body) == (418, b"\xff\x00")
    assert answer.headers["x-some"] == "Thing"
    assert exchange == Exchange(Phase.ANSWERED, 418, answer)
    (received,) = server.requests
    assert received.body == BODY
    assert received.header("content-length") == str(len(BODY))
    assert received.header("transfer-encoding") is None


@every
async def test_a_compressed_body_is_not_unfolded(mode):
    async with Server(status(200, b"\x1f\x8bnot really", content_encoding="gzip")) as server:
        async with transport_of(mode) as transport:
            assert (await post(transport, server.url)).body == b"\x1f\x8bnot really"


@every
@pytest.mark.parametrize("lines", [("identity", "gzip"), ("gzip", "identity")], ids=str)
async def test_a_field_on_two_lines_is_read_whole(mode, lines):
    head = "".join(f"content-encoding: {line}\r\n" for line in lines)
    answer = raw(f"HTTP/1.1 404 x\r\ncontent-length: 1\r\n{head}\r\n?".encode())
    async with Server(answer) as server, transport_of(mode) as transport:
        answered = await post(transport, server.url)
    found = [value for name, value in answered.headers.items() if name.lower() == "content-encoding"]
    assert ", ".join(found) == ", ".join(lines)


@every
async def test_a_body_over_the_cap_is_cut_and_its_connection_dropped(mode):
    async with Server(status(200, b"x" * 100_000)) as server, transport_of(mode) as transport:
        answer = await post(transport, server.url, max_bytes=10)
        await server.wait(lambda: not server.open)
        assert answer.body == b"x" * 11


@every
async def test_connections_are_used_again_after_a_clean_end_only(mode):
    async with Server() as server, transport_of(mode) as transport:
        for _ in range(3):
            await post(transport, server.url)
        assert server.connections == 1
        server.behaviour = close
        with pytest.raises(TransportError):
            await post(transport, server.url)
        server.behaviour = ok
        await post(transport, server.url)
        assert server.connections == 2


REFUSED = b'{"status":"error","error_id":"NOT_ENOUGH_BALANCE"}'


def http(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


@every
@pytest.mark.parametrize("surplus", [http(OK), b"\r\n", b"x"], ids=["an answer", "a line break", "a byte"])
async def test_a_surplus_answer_never_becomes_the_next_ones(mode, surplus):
    """It came in one segment with the first answer, so it is in the parser's buffer, not in the socket's."""

    async def twice_then_refuse(received: Received) -> None:
        if server.posts == 1:
            await received.write(http(OK) + surplus)
        else:
            await received.write(http(REFUSED))

    async with Server(twice_then_refuse) as server, transport_of(mode) as transport:
        assert (await post(transport, server.url)).body == OK
        assert (await post(transport, server.url)).body == REFUSED
        assert (await post(transport, server.url)).body == REFUSED
    assert server.posts == 3
    assert server.connections == 2


@every
async def test_a_surplus_answer_on_a_tls_connection_is_noticed_too(mode, authority):
    async def twice(received: Received) -> None:
        await received.write(http(OK) + http(REFUSED))

    async with Server(twice, tls=server_context(authority)) as server:
        async with transport_of(mode, verify=client_context(authority)) as transport:
            for _ in range(3):
                assert (await post(transport, server.url)).body == OK
    assert server.connections == 3


@every
async def test_a_cookie_is_not_sent_back_by_connections_of_our_own(mode):
    async with Server(status(200, OK, set_cookie="a=b")) as server, transport_of(mode) as transport:
        await post(transport, server.url)
        await post(transport, server.url)
    assert server.requests[1].header("cookie") == ("a=b" if mode in READY else None)


BROKEN_OFF = (FailureKind.DISCONNECTED, FailureKind.PROTOCOL)
"""h11 calls a body that ends too early a breach of the protocol."""


# --- The phase -------------------------------------------------------------------------------------------


@every
@pytest.mark.parametrize(
    ("behaviour", "kind", "phase"),
    [
        (close, FailureKind.DISCONNECTED, Phase.SENT),
        (rst, FailureKind.DISCONNECTED, Phase.SENT),
        (silence, FailureKind.TIMEOUT, Phase.SENT),
        (raw(b"HTTP/1.1 2"), FailureKind.DISCONNECTED, Phase.SENT),
        (raw(b"nonsense\r\n\r\n"), FailureKind.PROTOCOL, Phase.SENT),
        (raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx"), BROKEN_OFF, Phase.ANSWERED),
        (
            raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx", then_close=False),
            FailureKind.TIMEOUT,
            Phase.ANSWERED,
        ),
    ],
    ids=[
        "closed",
        "reset",
        "silent",
        "half a status line",
        "not HTTP",
        "half a body",
        "half a body and silence",
    ],
)
async def test_the_phase_of_a_lost_answer(mode, behaviour, kind, phase):
    # A behaviour that returns leaves the connection to the next request, which never comes.
    async with Server(behaviour) as server, transport_of(mode) as transport:
        exchange = Exchange()
        with pytest.raises(TransportError) as caught:
            await post(transport, server.url, exchange, timeout=httpx.Timeout(5, read=0.1))
        assert caught.value.kind in (kind if isinstance(kind, tuple) else (kind,))
        assert exchange.phase == phase
        await server.wait(lambda: not server.open)


@every
async def test_a_refused_connection_never_leaves_the_first_phase(mode):
    async with transport_of(mode) as transport:
        exchange = Exchange()
        with pytest.raises(TransportError) as caught:
            await post(transport, f"http://127.0.0.1:{free_port()}", exchange)
    assert (caught.value.kind, exchange.phase) == (FailureKind.CONNECT, Phase.UNSENT)


@every
async def test_a_name_that_does_not_resolve_never_leaves_the_first_phase(mode, monkeypatch):
    async def no_such_name(*args, **kwargs):
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", no_such_name)
    async with transport_of(mode) as transport:
        exchange = Exchange()
        with pytest.raises(TransportError, match="name resolution") as caught:
            await post(transport, "http://gateway.test", exchange)
    assert (caught.value.kind, exchange.phase) == (FailureKind.CONNECT, Phase.UNSENT)


@every
async def test_an_idle_connection_whose_end_was_seen_is_replaced_without_a_word(mode):
    async with Server() as server, transport_of(mode) as transport:
        await post(transport, server.url)
        server.requests[0].writer.close()
        await server.requests[0].writer.wait_closed()
        await server.wait(lambda: not server.open)
        for _ in range(3):  # the end is on its way through the event loop
            await asyncio.sleep(0)
        exchange = Exchange()
        await post(transport, server.url, exchange)
    assert (server.connections, server.posts) == (2, 2)
    assert exchange.phase is Phase.ANSWERED


async def test_waiting_for_a_connection_of_a_ready_client_never_leaves_the_first_phase():
    async with Server(silence) as server, httpx.AsyncClient(limits=httpx.Limits(max_connections=1)) as client:
        transport = HttpxTransport(client)
        first = asyncio.create_task(post(transport, server.url))
        await server.wait(lambda: server.posts == 1)
        exchange = Exchange()
        with pytest.raises(TransportError) as caught:
            await post(transport, server.url, exchange, timeout=httpx.Timeout(5, pool=0.05))
        assert (caught.value.kind, exchange.phase) == (FailureKind.POOL, Phase.UNSENT)
        first.cancel()
        await asyncio.wait((first,))
    assert server.posts == 1


@pytest.mark.parametrize(
    "error", [httpx.ReadTimeout("lost"), httpx.ConnectError("lost")], ids=["read", "connect"]
)
async def test_where_nothing_can_be_observed_an_error_may_have_been_sent(error):
    """Another library under httpx's interface: its error types prove nothing, its taking the body does."""

    def fail(request: httpx.Request) -> httpx.Response:
        raise error

    async with httpx.AsyncClient(transport=httpx.MockTransport(fail)) as client:
        exchange = Exchange()
        with pytest.raises(TransportError):
            await post(HttpxTransport(client), "http://gateway.test", exchange)
    assert exchange.phase is Phase.SENT


async def test_a_ready_client_with_a_mock_transport_works():
    async with httpx.AsyncClient(
        transport=httpx.MockTransport(lambda request: httpx.Response(200, content=OK))
    ) as client:
        assert (await post(HttpxTransport(client), "http://gateway.test")).body == OK


async def test_a_ready_clients_hooks_headers_and_parameters_are_kept():
    seen = []

    async def hook(response: httpx.Response) -> None:
        seen.append(await response.aread())

    async with Server() as server:
        async with httpx.AsyncClient(
            headers={"X-App": "mine"},
            params={"a": "b"},
            event_hooks={"response": [hook]},
            follow_redirects=True,
        ) as client:
            assert (await post(HttpxTransport(client), f"{server.url}/x")).body == OK
    assert seen == [OK]
    assert server.requests[0].header("x-app") == "mine"
    assert server.requests[0].target == "/x?a=b"


async def test_a_ready_client_that_follows_redirects_does_not_follow_ours():
    async with Server() as other, Server(status(307, location=other.url)) as server:
        async with httpx.AsyncClient(follow_redirects=True) as client:
            assert (await post(HttpxTransport(client), server.url)).http_status == 307
    assert other.posts == 0


async def test_request_that_httpx_cannot_build_is_not_sent():
    async with httpx.AsyncClient(verify=False) as client:
        exchange = Exchange()
        with pytest.raises(TransportError) as caught:
            await HttpxTransport(client).post(
                "http://127.0.0.1:9",
                headers={"X": "\ud800"},
                body=BODY,
                timeout=TIMEOUT,
                max_bytes=MAX,
                exchange=exchange,
            )
    assert (caught.value.kind, exchange.phase) == (FailureKind.UNEXPECTED, Phase.UNSENT)


def test_client_that_does_not_show_its_pool_is_not_taken_for_httpcores():
    assert _pool_of(httpx, object(), "http://gateway.test") is None


class SendsAgain(httpx.AsyncBaseTransport):
    """A retrying transport, as people mount on their clients."""

    def __init__(self) -> None:
        self.inner = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return await self.inner.handle_async_request(request)
        except httpx.HTTPError:
            return await self.inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self.inner.aclose()


class AsksAgain(httpx.Auth):
    """An authentication flow that sends its request a second time."""

    def __init__(self, *, reads_body: bool) -> None:
        self.requires_request_body = reads_body

    def auth_flow(self, request):
        yield request
        yield request


@pytest.mark.parametrize(
    ("settings", "behaviour"),
    [
        ({"transport": SendsAgain()}, close),
        ({"auth": AsksAgain(reads_body=False)}, status(401)),
        ({"auth": AsksAgain(reads_body=True)}, status(401)),
    ],
    ids=["a retrying transport", "an authentication flow", "an authentication flow that keeps the body"],
)
async def test_a_ready_client_that_sends_again_is_stopped(settings, behaviour):
    async with Server(behaviour) as server, httpx.AsyncClient(**settings) as client:
        exchange = Exchange()
        with pytest.raises(TransportError):
            await post(HttpxTransport(client), server.url, exchange)
    assert server.posts == 1
    assert exchange.phase is not Phase.UNSENT


async def test_cancelling_one_exchange_over_http2_leaves_its_neighbours_alone():
    answered = asyncio.Event()

    class Multiplexed(asyncio.Protocol):
        connections = 0
        streams: list = []

        def connection_made(self, transport):
            type(self).connections += 1
            self.transport = transport
            self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
            self.h2.initiate_connection()
            transport.write(self.h2.data_to_send())

        def data_received(self, data):
            for event in self.h2.receive_data(data):
                if isinstance(event, h2.events.StreamEnded):
                    self.streams.append(event.stream_id)
                    answered.set()
            self.transport.write(self.h2.data_to_send())

        def answer(self):
            for stream in self.streams[1:]:
                self.h2.send_headers(stream, [(":status", "200")])
                self.h2.send_data(stream, OK, end_stream=True)
            self.transport.write(self.h2.data_to_send())

    protocols: list[Multiplexed] = []

    def make() -> Multiplexed:
        protocols.append(Multiplexed())
        return protocols[-1]

    async def until(streams: int) -> None:
        while len(Multiplexed.streams) < streams:
            answered.clear()
            await answered.wait()

    listener = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    async with listener, httpx.AsyncClient(http1=False, http2=True) as client:
        transport = HttpxTransport(client)
        url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        first = asyncio.create_task(post(transport, url))  # it opens the connection
        await until(1)
        others = [asyncio.create_task(post(transport, url)) for _ in range(5)]
        await until(6)
        first.cancel()
        await asyncio.wait((first,))
        protocols[0].answer()
        assert [answer.body for answer in await asyncio.gather(*others)] == [OK] * 5
    assert Multiplexed.connections == 1


async def test_a_ready_client_that_gives_a_synchronous_stream_is_an_error_not_a_hang():
    class Stream(httpx.SyncByteStream):
        def __iter__(self):
            yield OK

    class Odd(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await request.aread()
            return httpx.Response(200, stream=Stream())

    async with httpx.AsyncClient(transport=Odd()) as client:
        with pytest.raises(TransportError) as caught:
            await post(HttpxTransport(client), "http://gateway.test")
    assert caught.value.kind is FailureKind.UNEXPECTED


# --- TLS -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(authority: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def client_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@every
async def test_tls_with_a_trusted_certificate_works_and_the_connection_is_kept(mode, authority):
    async with Server(tls=server_context(authority)) as server:
        async with transport_of(mode, verify=client_context(authority)) as transport:
            for _ in range(3):
                assert (await post(transport, server.url)).body == OK
    assert server.connections == 1


@every
async def test_an_untrusted_certificate_is_refused_for_good_and_not_sent(mode, authority):
    async with Server(tls=server_context(authority)) as server, transport_of(mode) as transport:
        exchange = Exchange()
        with pytest.raises(TransportError) as caught:
            await post(transport, server.url, exchange)
    assert (caught.value.kind, exchange.phase) == (FailureKind.TLS_REFUSED, Phase.UNSENT)
    assert server.posts == 0


@every
async def test_a_wrong_host_name_is_refused_for_good_and_not_sent(mode, authority):
    async with Server(tls=server_context(authority, "gateway.test")) as server:
        async with transport_of(mode, verify=client_context(authority)) as transport:
            exchange = Exchange()
            with pytest.raises(TransportError) as caught:
                await post(transport, server.url, exchange)
    assert (caught.value.kind, exchange.phase) == (FailureKind.TLS_REFUSED, Phase.UNSENT)


@every
async def test_plain_text_on_a_tls_port_is_refused_for_good_and_not_sent(mode):
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    listener = await asyncio.start_server(plain, "127.0.0.1", 0)
    async with listener, transport_of(mode) as transport:
        exchange = Exchange()
        with pytest.raises(TransportError) as caught:
            await post(transport, f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}", exchange)
    assert (caught.value.kind, exchange.phase) == (FailureKind.TLS_REFUSED, Phase.UNSENT)


@every
@pytest.mark.parametrize("end", ["fin", "stall"])
async def test_a_handshake_that_breaks_off_may_succeed_next_time_and_is_not_sent(mode, end):
    async def halfway(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        if end == "stall":
            await reader.read()
        writer.close()
        ended.set()

    ended = asyncio.Event()
    listener = await asyncio.start_server(halfway, "127.0.0.1", 0)
    async with listener, transport_of(mode) as transport:
        exchange = Exchange()
        url = f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        with pytest.raises(TransportError) as caught:
            await post(transport, url, exchange, timeout=httpx.Timeout(0.2))
        await ended.wait()
    assert (caught.value.kind, exchange.phase) == (FailureKind.TLS, Phase.UNSENT)


@every
async def test_a_cancelled_handshake_leaves_no_socket_behind(mode):
    connected = asyncio.Event()
    ended = asyncio.Event()

    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        connected.set()
        await reader.read()
        ended.set()
        writer.close()

    listener = await asyncio.start_server(stall, "127.0.0.1", 0)
    async with listener, transport_of(mode) as transport:
        exchange = Exchange()
        call = asyncio.create_task(
            post(transport, f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}", exchange)
        )
        await connected.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await ended.wait()
        assert exchange.phase is Phase.UNSENT
    gc.collect()  # a socket that nobody closed would warn here, and a warning is an error


@pytest.mark.parametrize("mode", OURS)
async def test_the_certificates_of_ssl_cert_file_are_trusted(mode, authority, monkeypatch, tmp_path):
    trusted = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(trusted))
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    async with Server(tls=server_context(authority)) as server, transport_of(mode) as transport:
        assert (await post(transport, server.url)).body == OK
    monkeypatch.delenv("SSL_CERT_FILE")
    async with Server(tls=server_context(authority)) as server, transport_of(mode) as transport:
        with pytest.raises(TransportError):
            await post(transport, server.url)


# --- Proxies ---------------------------------------------------------------------------------------------


class Proxy(Server):
    """Answers CONNECT with `answer`, and then tunnels."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 OK\r\n\r\n") -> None:
        super().__init__(self.connect)
        self.reply = answer

    async def connect(self, received: Received) -> None:
        await received.write(self.reply)
        if b" 200 " not in self.reply:
            received.writer.close()
            return
        host, _, port = received.target.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                while data := await source.read(65536):
                    sink.write(data)
            sink.close()

        await asyncio.gather(pump(received.reader, writer), pump(reader, received.writer))


async def test_a_tunnel_does_not_count_as_the_requests_first_byte(authority):
    async with Server(tls=server_context(authority)) as server, Proxy() as proxy:
        async with transport_of("own", proxy=proxy.url, verify=client_context(authority)) as transport:
            exchange = Exchange()
            assert (await post(transport, server.url, exchange)).body == OK
            await post(transport, server.url)
    assert proxy.requests[0].head.startswith(b"CONNECT 127.0.0.1:")
    assert (proxy.posts, server.posts, server.connections) == (1, 2, 1)


async def test_a_proxy_that_refuses_to_connect_is_not_sent():
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n"
    async with Proxy(refusal) as proxy, transport_of("own", proxy=proxy.url) as transport:
        exchange = Exchange()
        with pytest.raises(TransportError, match="407") as caught:
            await post(transport, "https://gateway.test", exchange)
    assert (caught.value.kind, exchange.phase) == (FailureKind.PROXY, Phase.UNSENT)


async def test_a_proxy_that_never_answers_connect_is_a_connection_that_failed():
    for behaviour in (silence, close):
        async with Server(behaviour) as proxy, transport_of("own", proxy=proxy.url) as transport:
            exchange = Exchange()
            with pytest.raises(TransportError) as caught:
                await post(transport, "https://gateway.test", exchange, timeout=httpx.Timeout(0.1))
        assert (caught.value.kind, exchange.phase) == (FailureKind.CONNECT, Phase.UNSENT)


async def test_a_proxys_password_goes_to_the_proxy():
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n"
    async with Proxy(refusal) as proxy:
        async with transport_of("own", proxy=proxy.url.replace("//", "//user:p%40ss@")) as transport:
            with pytest.raises(TransportError):
                await post(transport, "https://gateway.test")
    assert proxy.requests[0].header("proxy-authorization") == "Basic dXNlcjpwQHNz"


async def test_the_environments_proxy_is_used_and_can_be_ignored(monkeypatch):
    async with Server() as server, Server(status(200, b"by the proxy")) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        async with transport_of("own") as transport:
            assert (await post(transport, server.url)).body == b"by the proxy"
        async with transport_of("own", trust_env=False) as transport:
            assert (await post(transport, server.url)).body == OK
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        async with transport_of("own") as transport:
            assert (await post(transport, server.url)).body == OK


# --- Cancelling ------------------------------------------------------------------------------------------


@every
@pytest.mark.parametrize("passes", range(36))
async def test_an_exchange_cancelled_at_any_step_sends_nothing_more_and_loses_no_connection(mode, passes):
    """Every step of an exchange lies some passes of the event loop away; a pool of two shows what is lost."""
    limits = httpx.Limits(max_connections=2, max_keepalive_connections=2)
    async with Server() as server, READY.get(mode, httpx).AsyncClient(limits=limits) as client:
        transport = OURS[mode]() if mode in OURS else HttpxTransport(client)
        posts = 0
        for _ in range(3):
            exchange = Exchange()
            call = asyncio.create_task(post(transport, server.url, exchange))
            for _ in range(passes):
                await asyncio.sleep(0)
            before = exchange.phase
            call.cancel()
            await asyncio.wait((call,))
            if mode == "direct":  # a client's task runs on until the cancellation reaches it
                assert before is not Phase.UNSENT or exchange.phase is Phase.UNSENT
            assert exchange.phase is not Phase.UNSENT or server.posts == posts
            posts = server.posts
        answers = [await post(transport, server.url, timeout=httpx.Timeout(5, pool=1)) for _ in range(2)]
        assert [answer.body for answer in answers] == [OK, OK]
        await transport.aclose()


@every
async def test_exchanges_cancelled_at_random_on_a_busy_transport_lose_no_connection(mode):
    seed = random.Random(360)
    limits = httpx.Limits(max_connections=10, max_keepalive_connections=10)
    async with Server() as server, READY.get(mode, httpx).AsyncClient(limits=limits) as client:
        transport = OURS[mode]() if mode in OURS else HttpxTransport(client)

        async def cancelled_soon() -> None:
            call = asyncio.create_task(post(transport, server.url))
            for _ in range(seed.randrange(40)):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait((call,))

        for _ in range(30):
            await asyncio.gather(*(cancelled_soon() for _ in range(10)))
        answers = await asyncio.gather(
            *(post(transport, server.url, timeout=httpx.Timeout(5, pool=5)) for _ in range(10))
        )
        assert [answer.body for answer in answers] == [OK] * 10
        await transport.aclose()
    gc.collect()


async def test_what_is_cancelled_while_it_waits_in_a_ready_clients_pool_was_not_sent():
    async with Server(silence) as server, httpx.AsyncClient(limits=httpx.Limits(max_connections=1)) as client:
        transport = HttpxTransport(client)
        first = asyncio.create_task(post(transport, server.url))
        await server.wait(lambda: server.posts == 1)
        exchange = Exchange()
        second = asyncio.create_task(post(transport, server.url, exchange))
        for _ in range(10):
            await asyncio.sleep(0)
        for call in (second, first):
            call.cancel()
            await asyncio.wait((call,))
        assert exchange.phase is Phase.UNSENT
        server.behaviour = ok
        assert (await post(transport, server.url, timeout=httpx.Timeout(5, pool=1))).body == OK
    assert server.posts == 2


async def test_a_second_cancellation_does_not_cut_the_putting_away_short():
    async with Server(silence) as server, httpx.AsyncClient(limits=httpx.Limits(max_connections=1)) as client:
        transport = HttpxTransport(client)
        call = asyncio.create_task(post(transport, server.url))
        await server.wait(lambda: server.posts == 1)
        call.cancel()
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait((call,))
        assert call.cancelled()
        await server.wait(lambda: not server.open)
        server.behaviour = ok
        assert (await post(transport, server.url, timeout=httpx.Timeout(5, pool=1))).body == OK


# --- Closing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [HttpxTransport, DirectTransport])
async def test_a_closed_transport_refuses(make):
    transport = make()
    async with Server() as server:
        await post(transport, server.url)
        await transport.aclose()
        await transport.aclose()
        with pytest.raises(ClientClosed):
            await post(transport, server.url)
        await server.wait(lambda: not server.open)


# --- Settings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "setting"),
    [
        ({"client": 3}, "client"),
        ({"verify": "ca.pem"}, "verify"),
        ({"proxy": "not a proxy"}, "proxy"),
        ({"proxy": 3}, "proxy"),
        ({"limits": 3}, "limits"),
    ],
    ids=str,
)
def test_a_wrong_setting_names_itself(settings, setting):
    for make in (HttpxTransport, *([DirectTransport] if setting in ("verify", "limits") else [])):
        with pytest.raises(InvalidConfiguration) as caught:
            make(**settings)
        assert caught.value.setting == setting


@pytest.mark.parametrize(
    "settings",
    [
        {"limits": httpx.Limits()},
        {"verify": ssl.create_default_context()},
        {"proxy": "http://p"},
        {"trust_env": False},
    ],
    ids=lambda settings: next(iter(settings)),
)
async def test_a_setting_beside_a_ready_client_is_refused(settings):
    async with httpx.AsyncClient() as client:
        with pytest.raises(InvalidConfiguration, match="beside `client`"):
            HttpxTransport(client, **settings)


def test_a_ready_proxy_is_taken():
    HttpxTransport(proxy=httpx.Proxy("http://proxy.test:3128"))


# --- Errors carry nothing away ---------------------------------------------------------------------------


def test_scrubbing_stops_at_what_the_caller_is_handling():
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError as handled:
        try:
            raise OSError("ours")
        except OSError as exc:
            scrubbed(exc, handled)
            assert exc.__traceback__ is None
        assert handled.__traceback__ is not None


def test_scrubbing_takes_the_request_from_a_hooks_error_too():
    request = httpx.Request("POST", "http://gateway.test", content=BODY)
    try:
        httpx.Response(500, request=request).raise_for_status()
    except httpx.HTTPStatusError as exc:
        error = scrubbed(exc, None)
    assert (error.request.content, error.response.request.content) == (b"", b"")
    assert error.response.status_code == 500


def test_scrubbing_takes_tracebacks_and_requests_from_the_whole_chain():
    request = httpx.Request("POST", "http://gateway.test", content=BODY)
    try:
        try:
            raise ExceptionGroup("several", [OSError(111, "refused")])
        except ExceptionGroup as group:
            raise httpx.ConnectError("failed", request=request) from group
    except httpx.ConnectError as exc:
        error = scrubbed(exc, None)
    assert error.__traceback__ is None
    assert error.__cause__.__traceback__ is None
    assert error.__cause__.exceptions[0].__traceback__ is None
    assert error.request.content == b""
    assert BODY not in pickle.dumps(error)


async def test_the_head_and_the_body_of_a_request_leave_in_one_packet():
    """Two writes were two system calls, and with them half of the time on the wire."""
    chunks = []

    async def first_chunk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        chunks.append(await reader.read(65536))
        writer.write(http(OK))
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(first_chunk, "127.0.0.1", 0)
    async with listener, transport_of("direct") as transport:
        await post(transport, f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}")
    assert chunks[0].endswith(b"\r\n\r\n" + BODY)


@pytest.mark.parametrize("make", [HttpxTransport, DirectTransport])
async def test_what_was_never_used_can_be_closed(make):
    await make().aclose()
