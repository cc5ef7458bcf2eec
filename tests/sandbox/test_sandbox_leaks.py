"""The hunt for the API key in what the sandbox logs and prints, and for numbers in what it logs.

The messages and requests that it keeps are there to be looked at: numbers are shown in them.
"""

import asyncio
import logging

import httpx
import pytest

from gateway360_async import Gateway360Client, Ok
from gateway360_async.sandbox import Sandbox

KEY = "k3y-0f-the-account"
NUMBER = "34666666111"


@pytest.fixture
async def logged(caplog):
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0.0
    caplog.set_level(logging.DEBUG)
    yield lambda: "\n".join(f"{record.getMessage()} {record.exc_text}" for record in caplog.records)
    loop.set_debug(False)


async def asked(gateway, key=KEY, msisdn=NUMBER, **fields):
    async with httpx.AsyncClient(base_url=gateway.base_url) as client:
        body = {"api_key": key, "msisdn": msisdn, "sender": "X", **fields}
        return await client.post("/api/2fa/request", json=body)


async def test_no_answer_of_the_sandbox_puts_the_key_or_the_number_into_a_log(logged):
    def raising(message):
        if message.sender == "RAISE":
            raise RuntimeError("on_message is broken")

    async with Sandbox(KEY, on_message=raising) as gateway:
        async with Gateway360Client(KEY, base_url=gateway.base_url, sender="X") as client:
            assert isinstance(await client.request_pin(NUMBER), Ok)
        for fields in (
            {},
            {"sender": "RAISE"},
            {"sender": KEY},
            {"msisdn": f"{NUMBER}000000"},
            {"sms_text": f"{KEY} {{PIN}}"},
            {"key": f"{KEY}2"},
            {"pin_params": {KEY: NUMBER}},
        ):
            await asked(gateway, **fields)
        async with httpx.AsyncClient() as client:
            for content in (b"{", f'"{KEY} {NUMBER}"'.encode(), b"x" * 100_000):
                await client.post(f"{gateway.base_url}/api/2fa/request", content=content)
            await client.post(f"{gateway.base_url}/nowhere", content=KEY.encode())
        reader, writer = await asyncio.open_connection(*gateway.base_url.removeprefix("http://").split(":"))
        writer.write(f"{KEY} {NUMBER}\r\n\r\n".encode())
        assert b"400" in await reader.read()
        writer.close()
        await writer.wait_closed()
        shown = f"{gateway!r} {gateway.requests!r} {gateway._gateway!r} {gateway._server!r}"
    log = logged()
    assert "on_message failed" in log
    assert "Invalid HTTP request" in log
    assert KEY not in log
    assert NUMBER not in log
    assert KEY not in shown
