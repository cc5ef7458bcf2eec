"""What people mock and instrument keeps working with the default transport."""

from __future__ import annotations

import httpx
import pytest
import respx

from gateway360_async import (
    ApiError,
    Disposition,
    ErrorId,
    Gateway360Client,
    Ok,
    RetryPolicy,
    TransportFailure,
)

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


@respx.mock
async def test_respx_gives_an_error_envelope():
    respx.post(URL).respond(401, json={"status": "error", "error_id": "UNAUTHORIZED"})
    async with Gateway360Client("k3y", sender="PIZZA") as client:
        result = await client.request_pin("34666666111")
    assert isinstance(result, ApiError)
    assert result.error_id is ErrorId.UNAUTHORIZED


@pytest.mark.parametrize("error", [httpx.ReadTimeout, httpx.ConnectError], ids=lambda error: error.__name__)
@respx.mock
async def test_an_error_of_respx_may_have_been_sent_for_it_proves_nothing(error):
    """It takes the request's body before it raises, whatever it raises."""
    route = respx.post(URL).mock(side_effect=error)
    async with Gateway360Client("k3y", sender="PIZZA", retry=RetryPolicy(base_delay=0.0)) as client:
        result = await client.request_pin("34666666111")
    assert isinstance(result, TransportFailure)
    assert result.disposition is Disposition.MAYBE_SENT
    assert route.call_count == 1


async def test_an_instrumented_httpx_transport_sees_every_request(monkeypatch):
    """OpenTelemetry's instrumentation wraps this method of the class."""
    seen = []
    original = httpx.AsyncHTTPTransport.handle_async_request

    async def wrapped(self, request):
        seen.append(request.url)
        return await original(self, request)

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", wrapped)
    async with Gateway360Client("k3y", sender="PIZZA", base_url="http://127.0.0.1:1", deadline=1) as client:
        await client.request_pin("34666666111")
    assert set(map(str, seen)) == {"http://127.0.0.1:1/api/2fa/request"}
