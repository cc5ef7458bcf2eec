"""Mocks and instruments of httpx keep working with the default transport."""

from __future__ import annotations

import sys
from unittest.mock import Mock

import httpx
import httpx2
import pytest
import respx
import vcr
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from support.loopback import Server

from gateway360_async import Disposition, Gateway360Client, Ok, RetryPolicy, TransportFailure
from gateway360_async.transports import DirectTransport, _environment
from gateway360_async.transports._environment import intercepted_by

URL = "https://api.gateway360.com/api/2fa/request"


@respx.mock
async def test_respx_answers_for_the_gateway():
    route = respx.post(URL).mock(return_value=httpx.Response(200, json={"status": "ok"}))
    async with Gateway360Client("k3y", sender="PIZZA") as client:
        assert isinstance(await client.request_pin("34666666111"), Ok)
        assert isinstance(await client.request_pin("34666666112"), Ok)
    assert route.call_count == 2
    request = route.calls[0].request
    assert request.headers["content-type"] == "application/json"
    assert request.headers["host"] == "api.gateway360.com"
    assert b'"msisdn":"34666666111"' in request.content


@pytest.mark.parametrize("error", [httpx.ReadTimeout, httpx.ConnectError], ids=lambda error: error.__name__)
@respx.mock
async def test_respx_error_may_have_been_sent(error):
    """It takes the request's body before it raises."""
    route = respx.post(URL).mock(side_effect=error)
    async with Gateway360Client("k3y", sender="PIZZA", retry=RetryPolicy(base_delay=0.0)) as client:
        result = await client.request_pin("34666666111")
    assert isinstance(result, TransportFailure)
    assert result.disposition is Disposition.MAYBE_SENT
    assert route.call_count == 1


# --- The default transport steps aside, and comes back --------------------------------------------------------


async def request_through(server, **settings):
    async with Gateway360Client("k3y", sender="PIZZA", base_url=server.url, **settings) as client:
        return await client.request_pin("34666666111"), repr(client)


async def wrapped(self, request):
    """Answer for the network, as a mock does."""
    return httpx.Response(200, json={"status": "ok"})


REPLACED = [
    ("httpx.AsyncHTTPTransport.handle_async_request", wrapped),
    ("httpx.AsyncClient._send_single_request", wrapped),
    ("httpcore.AsyncConnectionPool.handle_async_request", None),
    ("httpcore.AsyncHTTP11Connection.handle_async_request", None),
    ("httpcore.AnyIOBackend.connect_tcp", None),
]


@pytest.mark.parametrize(("name", "by"), REPLACED, ids=[name for name, _ in REPLACED])
async def test_default_steps_aside_while_a_function_is_replaced(name, by, monkeypatch, caplog):
    """Also a client that was made, and used, before: the next exchange goes through what was replaced."""
    import httpcore  # with httpx's first transport, as a rule

    holder = {"httpx": httpx, "httpcore": httpcore}[name.split(".")[0]]
    holder = getattr(holder, name.split(".")[1])
    original = getattr(holder, name.split(".")[2])
    seen = []

    async def passes_on(self, *args, **kwargs):
        seen.append(self)
        return await original(self, *args, **kwargs)

    async with Server() as server:
        async with Gateway360Client("k3y", sender="PIZZA", base_url=server.url) as client:
            assert isinstance(await client.request_pin("34666666111"), Ok)
            assert "DirectTransport()" in repr(client)
            with monkeypatch.context() as patch:
                patch.setattr(holder, name.split(".")[2], by or passes_on)
                results = [await client.request_pin(f"3466666611{i}") for i in (2, 3)]
                assert f"while {name} is replaced" in repr(client)
            assert all(isinstance(result, Ok) for result in results)
            assert server.posts == (1 if by else 3)
            assert bool(seen) is (by is None)
            assert isinstance(await client.request_pin("34666666114"), Ok)
            assert server.posts == (2 if by else 4)
    warnings = [record.message for record in caplog.records if "is replaced" in record.message]
    assert len(warnings) == 1
    assert name in warnings[0]
    assert "DirectTransport()" in warnings[0]


async def test_default_steps_aside_for_a_replaced_class(monkeypatch):
    """An older OpenTelemetry puts a class of its own in the place of httpx's."""

    class Instrumented(httpx.AsyncClient):
        async def send(self, request, **settings):
            seen.append(request)
            return await super().send(request, **settings)

    seen = []
    monkeypatch.setattr(httpx, "AsyncClient", Instrumented)
    async with Server() as server:
        result, shown = await request_through(server)
    assert isinstance(result, Ok)
    assert "while httpx.AsyncClient" in shown
    assert len(seen) == 1


async def test_default_steps_aside_for_httpx2_too(monkeypatch):
    monkeypatch.setattr(httpx2.AsyncHTTPTransport, "handle_async_request", answers_of_httpx2)
    async with Server() as server:
        result, _ = await request_through(server)
    assert isinstance(result, Ok)
    assert server.posts == 0


async def answers_of_httpx2(self, request):
    return httpx2.Response(200, json={"status": "ok"})


async def test_direct_transport_that_was_asked_for_stays(monkeypatch):
    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", wrapped)
    async with Server() as server:
        result, _ = await request_through(server, transport=DirectTransport())
    assert isinstance(result, Ok)
    assert server.posts == 1


def test_originals_are_learned_however_late(monkeypatch):
    """Under a mock that was there first nothing is learned, and the mock is found."""
    monkeypatch.setattr(_environment, "_originals", {})
    with monkeypatch.context() as patch:
        patch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", wrapped)
        for _ in range(2):
            assert intercepted_by("httpx", "httpcore") == "httpx.AsyncHTTPTransport.handle_async_request"
        patch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", Mock())
        assert intercepted_by("httpx", "httpcore") == "httpx.AsyncHTTPTransport.handle_async_request"
    with monkeypatch.context() as patch:
        patch.setattr(httpx, "AsyncClient", Mock())
        assert intercepted_by("httpx", "httpcore") == "httpx.AsyncClient"
    assert intercepted_by("httpx", "httpcore") is None
    with monkeypatch.context() as patch:
        patch.setattr(httpx, "AsyncClient", Mock())
        assert intercepted_by("httpx", "httpcore") == "httpx.AsyncClient"
    assert intercepted_by("httpx", "httpcore") is None
    with monkeypatch.context() as patch:
        patch.delattr(httpx.AsyncClient, "_transport_for_url")  # another version of httpx may lack it
        assert intercepted_by("httpx", "httpcore") is None


def test_library_without_a_class_is_known_by_the_others(monkeypatch):
    import httpcore

    monkeypatch.setattr(_environment, "_originals", {})
    monkeypatch.delattr(httpcore, "AsyncHTTP11Connection")
    assert intercepted_by("httpx", "httpcore") is None
    monkeypatch.setattr(httpcore.AsyncConnectionPool, "handle_async_request", wrapped)
    assert intercepted_by("httpx", "httpcore") == "httpcore.AsyncConnectionPool.handle_async_request"


def test_library_that_is_not_imported_is_not_intercepted(monkeypatch):
    monkeypatch.delitem(sys.modules, "httpcore2")
    monkeypatch.delitem(sys.modules, "httpx2")
    assert intercepted_by("httpx2", "httpcore2") is None


# --- The tools that people have ---------------------------------------------------------------------------------


async def test_pytest_httpx_answers_for_the_gateway(httpx_mock):
    httpx_mock.add_response(url=URL, method="POST", json={"status": "ok"})
    async with Gateway360Client("k3y", sender="PIZZA") as client:
        assert isinstance(await client.request_pin("34666666111"), Ok)
    (request,) = httpx_mock.get_requests()
    assert b'"msisdn":"34666666111"' in request.content


async def test_pytest_httpx_stops_a_request_that_was_not_expected(httpx_mock):
    async with Gateway360Client("k3y", sender="PIZZA", retry=RetryPolicy(base_delay=0.0)) as client:
        result = await client.request_pin("34666666111")
    assert result.disposition is not Disposition.SENT
    httpx_mock.reset()


@pytest.mark.parametrize("way", ["of this version", "of earlier versions"])
async def test_vcr_that_records_nothing_lets_nothing_through(way, tmp_path, monkeypatch):
    """Up to version 7 it replaced a method of httpx's client, and later one of httpcore's pool."""
    cassette = vcr.use_cassette(str(tmp_path / "none.yaml"), record_mode="none")
    async with Server() as server, Gateway360Client("k3y", sender="PIZZA", base_url=server.url) as client:
        with monkeypatch.context() as patch:
            if way == "of earlier versions":

                async def send_single_request(self, request):
                    await request.aread()
                    raise RuntimeError("no recorded answer, and none is to be recorded")

                patch.setattr(httpx.AsyncClient, "_send_single_request", send_single_request)
                result = await client.request_pin("34666666111")
            else:
                with cassette:
                    result = await client.request_pin("34666666111")
        assert isinstance(result, TransportFailure)
        assert server.posts == 0
        assert isinstance(await client.request_pin("34666666112"), Ok)
        assert server.posts == 1


async def test_vcr_replays_what_it_has_recorded(tmp_path):
    path = str(tmp_path / "cassette.yaml")
    async with Server() as server:
        for _ in range(2):
            async with Gateway360Client("k3y", sender="PIZZA", base_url=server.url) as client:
                with vcr.use_cassette(path, record_mode="once", match_on=["method", "uri"]):
                    assert isinstance(await client.request_pin("34666666111"), Ok)
        assert server.posts == 1


@pytest.fixture
def spans():
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield exporter, provider
    provider.shutdown()


async def test_opentelemetry_for_httpx_sees_every_request(spans):
    exporter, provider = spans
    read = []

    async def hook(span, request):
        read.append([part async for part in request.stream])  # as a hook that records bodies does

    instrumentor = HTTPXClientInstrumentor()
    instrumentor.instrument(tracer_provider=provider, async_request_hook=hook)
    try:
        async with Server() as server:
            url = f"{server.url}/api/2fa/request"
            result, shown = await request_through(server)
    finally:
        instrumentor.uninstrument()
    assert isinstance(result, Ok)
    assert "HttpxTransport" in shown
    assert [span.attributes["http.url"] for span in exporter.get_finished_spans()] == [url]
    assert b"34666666111" in read[0][0]
    assert (server.posts, result.attempts) == (1, 1)
    assert server.requests[0].header("traceparent") is not None
