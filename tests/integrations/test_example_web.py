"""The web application of the README, under uvicorn and over real HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from types import ModuleType, SimpleNamespace

import httpx
import pytest
import uvicorn
from support.examples import example_with

from gateway360_async.sandbox import Sandbox

NUMBER = "34666666111"
FASTAPI = example_with("sms: dict[str | None, str] = {}").source


@pytest.fixture
def shop(monkeypatch):
    """Serve an example with a sandbox behind it, and give both, and a browser."""

    @contextlib.asynccontextmanager
    async def open_shop(source):
        listener = socket.create_server(("127.0.0.1", 0))
        base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with Sandbox() as gateway:
            for name, value in {
                "SMS_REPORT_URL": f"{base_url}/hooks/sms",
                "SMS_REPORT_SECRET": "a-s3cret-of-the-tests",
                "GATEWAY360_BASE_URL": gateway.base_url,
                "GATEWAY360_API_KEY": gateway.api_key,
            }.items():
                monkeypatch.setenv(name, value)
            module = ModuleType("shop")
            monkeypatch.setitem(sys.modules, "shop", module)
            exec(compile(source, "shop.py", "exec"), vars(module))
            server = uvicorn.Server(uvicorn.Config(module.app, log_config=None))
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            async with httpx.AsyncClient(base_url=base_url, trust_env=False) as browser:
                yield SimpleNamespace(gateway=gateway, browser=browser, module=module)
            server.should_exit = True
            await serving

    return open_shop


async def sign_up(shop, msisdn=NUMBER):
    answer = await shop.browser.post("/sign-up", json={"msisdn": msisdn})
    return answer.status_code, next(iter(answer.json().values()))


async def test_sign_up_tells_the_three_outcomes_apart(shop):
    async with shop(FASTAPI) as shop:
        assert await sign_up(shop, "+34 666 666 111") == (202, "type the PIN of the SMS")
        shop.gateway.lose_next_answer()
        status, text = await sign_up(shop, "34666666112")
        assert (status, text[:27]) == (202, "wait a minute for the SMS, ")
        shop.gateway.balance = 0
        status, text = await sign_up(shop, "34666666113")
        assert (status, text[:16]) == (503, "nothing was sent")
        status, text = await sign_up(shop, "12")
        assert (status, text[:7]) == (422, "msisdn:")
        assert [message.msisdn for message in shop.gateway.messages] == [NUMBER, "34666666112"]


async def test_second_click_is_no_second_sms(shop):
    async with shop(FASTAPI) as shop:
        assert await sign_up(shop) == await sign_up(shop)
        assert len(shop.gateway.messages) == 1


async def test_sign_up_with_unassigned_number_says_so(shop):
    async with shop(FASTAPI) as shop:
        assert await sign_up(shop, "34744666111") == (422, "no SMS can be sent to this number")


@pytest.mark.parametrize(
    ("number", "status"), [("+1 876 555 0100", 403), ("+44 7911 123456", 403), ("+351 911 111 111", 202)]
)
async def test_sign_up_of_forbidden_region_says_so(shop, number, status):
    async with shop(FASTAPI) as shop:
        answer = await sign_up(shop, number)
        assert answer[0] == status
        assert (answer[1] == "we do not send to numbers of this country") is (status == 403)
        assert len(shop.gateway.requests) == (status == 202)


async def test_sign_up_past_its_limit_says_so(shop):
    async with shop(FASTAPI) as shop:
        for _ in range(10):
            assert (await sign_up(shop, "34744666111"))[0] == 422
        answer = await sign_up(shop, "34744666111")
        assert answer == (429, "this number has had enough for now: try again in an hour")
        assert len(shop.gateway.requests) == 10


async def test_sign_up_with_national_number_is_understood(shop):
    async with shop(FASTAPI) as shop:
        assert (await sign_up(shop, "666 666 111"))[0] == 202
        assert [message.msisdn for message in shop.gateway.messages] == [NUMBER]


async def test_pin_is_verified(shop):
    async with shop(FASTAPI) as shop:

        async def verify(pin, msisdn=NUMBER):
            answer = await shop.browser.post("/verify", json={"msisdn": msisdn, "pin": pin})
            return answer.status_code, answer.json()

        await sign_up(shop)
        assert await verify("wrong") == (403, {"detail": "not this PIN; tries left: 2"})
        assert await verify(shop.gateway.last_pin(NUMBER)) == (200, {"verified": True})
        assert (await verify("wrong", "12"))[0] == 422
        shop.gateway.fail_next()
        assert await verify("wrong") == (503, {"detail": "not known: try again later"})


async def test_lost_answer_is_known_once_its_report_comes(shop):
    async with shop(FASTAPI) as shop:
        changes = shop.gateway.watch()
        shop.gateway.lose_next_answer()
        await sign_up(shop)
        async for change in changes:
            if change.kind == "report":
                break
        (message,) = shop.gateway.messages
        assert [report.http_status for report in message.reports] == [204]
        assert list(shop.module.sms.values()) == ["DELIVRD"]
