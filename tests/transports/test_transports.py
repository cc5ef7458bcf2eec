"""Each transport on real sockets, and `HttpxTransport` over ready clients. The faults are in tests/faults."""

from __future__ import annotations

import asyncio
import pickle
import ssl

import h2.config
import h2.connection
import h2.events
import httpx
import pytest
from support.cases import each
from support.certificates import authority, server_context
from support.loopback import OK, Server, close, ok, raw, silence, status
from support.posting import BODY, OURS, READY, failed_post, post, transport_of

from gateway360_async import ClientClosed, FailureKind, InvalidConfiguration
from gateway360_async.transports import Exchange, HttpxTransport, Phase, scrubbed

ONE = httpx.Limits(max_connections=1)
every = pytest.mark.parametrize("mode", [*OURS, *READY])
ours = pytest.mark.parametrize("mode", OURS)


# --- The answer ------------------------------------------------------------------------------------------


@every
async def test_answer_is_read_as_it_came(mode):
    behaviour = status(418, b"\x1f\x8bnot really\0", x_Some="Thing", content_encoding="gzip")
    async with Server(behaviour) as server, transport_of(mode) as transport:
        exchange = Exchange()
        answer = await post(transport, server.url, exchange)
    assert (answer.http_status, answer.body) == (418, b"\x1f\x8bnot really\0")
    assert answer.headers["x-some"] == "Thing"
    assert exchange == Exchange(Phase.ANSWERED, 418, answer)
    (received,) = server.requests
    assert received.body == BODY
    assert received.header("content-length") == str(len(BODY))
    assert received.header("transfer-encoding") is None


@every
@pytest.mark.parametrize("lines", [("identity", "gzip"), ("gzip", "identity")], ids=str)
async def test_answer_field_on_two_lines_is_read_whole(mode, lines):
    head = "".join(f"Content-Encoding: {line}\r\n" for line in lines)
    answer = raw(f"HTTP/1.1 404 x\r\ncontent-length: 1\r\n{head}\r\n?".encode())
    async with Server(answer) as server, transport_of(mode) as transport:
        answered = await post(transport, server.url)
    assert answered.headers["content-encoding"] == ", ".join(lines)


@every
async def test_answer_over_the_cap_is_cut_and_its_connection_dropped(mode):
    async with Server(status(200, b"x" * 100_000)) as server, transport_of(mode) as transport:
        answer = await post(transport, server.url, max_bytes=10)
        await server.wait(lambda: not server.open)
        assert answer.body == b"x" * 11


@every
async def test_cookie_is_sent_back_by_a_ready_client_only(mode):
    async with Server(status(200, OK, set_cookie="a=b")) as server, transport_of(mode) as transport:
        await post(transport, server.url)
        await post(transport, server.url)
    assert server.requests[1].header("cookie") == ("a=b" if mode in READY else None)


async def test_request_leaves_in_one_packet():
    """Two writes were two system calls, and with them half of the time on the wire."""
    chunks = []

    async def first_chunk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        chunks.append(await reader.read(65536))
        writer.write(b"HTTP/1.1 204 x\r\n\r\n")
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(first_chunk, "127.0.0.1", 0)
    async with listener, transport_of("direct") as transport:
        await post(transport, f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}")
    assert chunks[0].endswith(b"\r\n\r\n" + BODY)


# --- Ready clients ---------------------------------------------------------------------------------------


async def through(client_settings, url="http://gateway.test", **settings):
    """Post through a ready client that is made so, and give the kind of the failure and the phase."""
    async with httpx.AsyncClient(**client_settings) as client:
        return await failed_post(HttpxTransport(client), url, **settings)


@pytest.mark.parametrize("error", [httpx.ReadTimeout, httpx.ConnectError])
async def test_error_of_an_unknown_engine_may_have_been_sent(error):
    """Its error types prove nothing, its taking the body does."""

    def fail(request: httpx.Request) -> httpx.Response:
        raise error("lost")

    assert (await through({"transport": httpx.MockTransport(fail)}))[1] is Phase.SENT


async def test_ready_client_with_a_mock_transport_works():
    mock = httpx.MockTransport(lambda request: httpx.Response(200, content=OK))
    async with httpx.AsyncClient(transport=mock) as client:
        assert (await post(HttpxTransport(client), "http://gateway.test")).body == OK


async def test_ready_client_keeps_its_hooks_headers_and_parameters():
    seen = []

    async def hook(response: httpx.Response) -> None:
        seen.append(await response.aread())

    settings = {"headers": {"X-App": "mine"}, "params": {"a": "b"}, "event_hooks": {"response": [hook]}}
    async with Server() as server, httpx.AsyncClient(**settings) as client:
        assert (await post(HttpxTransport(client), f"{server.url}/x")).body == OK
    assert seen == [OK]
    assert server.requests[0].header("x-app") == "mine"
    assert server.requests[0].target == "/x?a=b"


async def test_ready_client_that_follows_redirects_does_not_here():
    async with Server() as other, Server(status(307, location=other.url)) as server:
        async with httpx.AsyncClient(follow_redirects=True) as client:
            assert (await post(HttpxTransport(client), server.url)).http_status == 307
    assert other.posts == 0


async def test_request_that_httpx_cannot_build_is_not_sent():
    said = await through({"verify": False}, "http://127.0.0.1:9", headers={"X": "\ud800"})
    assert said == (FailureKind.UNEXPECTED, Phase.UNSENT)


async def test_ready_client_with_a_synchronous_answer_is_an_error():
    class Stream(httpx.SyncByteStream):
        def __iter__(self):
            yield OK

    class Odd(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await request.aread()
            return httpx.Response(200, stream=Stream())

    assert (await through({"transport": Odd()}))[0] is FailureKind.UNEXPECTED


async def test_ready_client_that_does_not_show_its_pool_works(monkeypatch):
    """Another version of httpx may lack the private name that leads there."""
    mock = httpx.MockTransport(lambda request: httpx.Response(200, content=OK))

    class Client(httpx.AsyncClient):
        async def send(self, request, **settings):
            return await mock.handle_async_request(request)

        @property
        def _transport_for_url(self):
            raise AttributeError

    async with Client() as client:
        assert (await post(HttpxTransport(client), "http://gateway.test")).body == OK


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

    requires_request_body = True

    def auth_flow(self, request):
        yield request
        yield request


@pytest.mark.parametrize(
    ("settings", "behaviour"),
    [({"transport": SendsAgain()}, close), ({"auth": AsksAgain()}, status(401))],
    ids=["a transport", "an authentication"],
)
async def test_ready_client_that_sends_again_is_stopped(settings, behaviour):
    async with Server(behaviour) as server:
        assert (await through(settings, server.url))[1] is not Phase.UNSENT
    assert server.posts == 1


async def test_ready_client_over_http2_keeps_neighbours_of_a_cancelled():
    class Multiplexed(asyncio.Protocol):
        def connection_made(self, transport):
            made.append(self)
            self.transport = transport
            self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
            self.h2.initiate_connection()
            transport.write(self.h2.data_to_send())

        def data_received(self, data):
            ended = [
                event for event in self.h2.receive_data(data) if isinstance(event, h2.events.StreamEnded)
            ]
            for event in ended:
                streams.put_nowait(event.stream_id)
            self.transport.write(self.h2.data_to_send())

        def answer(self, stream):
            self.h2.send_headers(stream, [(":status", "200")])
            self.h2.send_data(stream, OK, end_stream=True)
            self.transport.write(self.h2.data_to_send())

    made: list[Multiplexed] = []
    streams: asyncio.Queue[int] = asyncio.Queue()
    listener = await asyncio.get_running_loop().create_server(Multiplexed, "127.0.0.1", 0)
    async with listener, httpx.AsyncClient(http1=False, http2=True) as client:
        transport = HttpxTransport(client)
        url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        first = asyncio.create_task(post(transport, url))  # it opens the connection
        await streams.get()
        others = [asyncio.create_task(post(transport, url)) for _ in range(5)]
        waiting = [await streams.get() for _ in others]
        first.cancel()
        await asyncio.wait((first,))
        for stream in waiting:
            made[0].answer(stream)
        assert [answer.body for answer in await asyncio.gather(*others)] == [OK] * 5
    assert len(made) == 1


# --- The environment -------------------------------------------------------------------------------------


@ours
async def test_certificates_of_ssl_cert_file_are_trusted(mode, monkeypatch, tmp_path):
    trusted = tmp_path / "ca.pem"
    authority().cert_pem.write_to_path(str(trusted))
    async with Server(tls=server_context("TLS 1.3")) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        async with transport_of(mode) as transport:
            assert (await post(transport, server.url)).body == OK
        monkeypatch.delenv("SSL_CERT_FILE")
        async with transport_of(mode) as transport:
            assert await failed_post(transport, server.url) == (FailureKind.TLS_REFUSED, Phase.UNSENT)


@pytest.mark.parametrize("behaviour", [silence, close])
async def test_proxy_that_never_answers_connect_is_no_connection(behaviour):
    async with Server(behaviour) as proxy, transport_of("own", proxy=proxy.url) as transport:
        said = await failed_post(transport, "https://gateway.test", timeout=httpx.Timeout(0.1))
    assert said == (FailureKind.CONNECT, Phase.UNSENT)


async def test_proxy_that_refuses_gets_its_password_and_is_named():
    async with Server(status(407)) as proxy:
        async with transport_of("own", proxy=proxy.url.replace("//", "//user:p%40ss@")) as transport:
            said = await failed_post(transport, "https://gateway.test", match="407")
    assert said == (FailureKind.PROXY, Phase.UNSENT)
    assert proxy.requests[0].header("proxy-authorization") == "Basic dXNlcjpwQHNz"


async def test_proxy_of_the_environment_is_used_and_can_be_ignored(monkeypatch):
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
@each("passes", range(36))
async def test_exchange_cancelled_at_any_step_loses_no_connection(mode, passes):
    """Every step of an exchange lies some passes of the event loop away; a pool of two shows what is lost."""
    async with Server() as server, transport_of(mode, connections=2) as transport:
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


async def test_exchange_that_waits_in_a_ready_clients_pool_is_not_sent():
    async with Server(silence) as server, httpx.AsyncClient(limits=ONE) as client:
        transport = HttpxTransport(client)
        first = asyncio.create_task(post(transport, server.url))
        await server.wait(lambda: server.posts == 1)
        said = await failed_post(transport, server.url, timeout=httpx.Timeout(5, pool=0.05))
        assert said == (FailureKind.POOL, Phase.UNSENT)
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


async def test_exchange_cancelled_twice_is_still_put_away():
    async with Server(silence) as server, httpx.AsyncClient(limits=ONE) as client:
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


# --- Closing and settings --------------------------------------------------------------------------------


@ours
async def test_transport_that_was_closed_refuses(mode):
    await OURS[mode]().aclose()  # what was never used can be closed
    transport = OURS[mode]()
    async with Server() as server:
        await post(transport, server.url)
        await transport.aclose()
        await transport.aclose()
        with pytest.raises(ClientClosed):
            await post(transport, server.url)
        await server.wait(lambda: not server.open)


WRONG = [
    (HttpxTransport, "client", 3),
    (HttpxTransport, "proxy", "not a proxy"),
    (HttpxTransport, "proxy", 3),
    *((make, name, wrong) for make in OURS.values() for name, wrong in (("verify", "ca.pem"), ("limits", 3))),
]


@pytest.mark.parametrize(("make", "setting", "value"), WRONG, ids=str)
def test_setting_that_is_wrong_names_itself(make, setting, value):
    with pytest.raises(InvalidConfiguration) as caught:
        make(**{setting: value})
    assert caught.value.setting == setting


@pytest.mark.parametrize("setting", ["limits", "verify", "proxy", "trust_env"])
async def test_setting_beside_a_ready_client_is_refused(setting):
    values = {
        "limits": ONE,
        "verify": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        "proxy": "http://p",
        "trust_env": False,
    }
    async with httpx.AsyncClient(verify=False) as client:
        with pytest.raises(InvalidConfiguration, match="beside `client`") as caught:
            HttpxTransport(client, **{setting: values[setting]})
    assert caught.value.setting == setting


def test_setting_proxy_may_be_a_ready_one():
    HttpxTransport(proxy=httpx.Proxy("http://proxy.test:3128"))


# --- Errors carry nothing away ---------------------------------------------------------------------------


def test_scrubbing_stops_at_the_error_that_the_caller_handles():
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


def test_scrubbing_takes_tracebacks_and_requests_of_the_chain():
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
