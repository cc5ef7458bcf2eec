"""The phone's page at any width, with any number of SMS. Its frames a second: `python -m benchmarks.phone`."""

from __future__ import annotations

import json

import pytest
from playwright.async_api import expect

from gateway360_async.sandbox._faults import Fault

pytestmark = pytest.mark.asyncio(loop_scope="package")

SIZES = """() => [
  document.documentElement.scrollWidth,
  document.documentElement.scrollHeight - document.querySelector("main").getBoundingClientRect().bottom - scrollY,
]"""


def send(gateway, number):
    """Send an SMS without HTTP: the page alone is to be seen."""
    text = "Your PIN is {PIN}. Enjoy your pizza!"
    fields = {"api_key": gateway.api_key, "msisdn": f"346{number:08}", "sender": "PIZZA", "sms_text": text}
    gateway._handle("request", "/api/2fa/request", "application/json", json.dumps(fields).encode(), Fault())


@pytest.mark.parametrize("number", [0, 1, 500])
async def test_phone_at_any_width_is_filled_and_cuts_nothing(page, gateway, shoot, number):
    for index in range(number):
        send(gateway, index)
    await expect(page.get_by_role("article")).to_have_count(min(number, 200))
    await expect(page.get_by_text("The newest 200 of 500 are shown")).to_have_count(2 if number == 500 else 0)
    await expect(page.locator("#clock")).to_have_text("06:13")
    for width in (1280, 390):
        await page.set_viewport_size({"width": width, "height": 900})
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme=scheme)
            wide, below = await page.evaluate(SIZES)
            assert wide <= width
            assert below < 100
            await shoot(page, f"phone-{number}-{width}-{scheme}.png")
